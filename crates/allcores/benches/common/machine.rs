//! What the figures were measured on: the CPU, who else used it, and which of it a thread may use.

use std::fs;
use std::mem::MaybeUninit;
use std::path::Path;
use std::time::Instant;

/// CPU model, kernel release, number of usable CPUs.
pub(crate) fn describe() -> (String, String, usize) {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| {
            line.strip_prefix("model name")
                .or(line.strip_prefix("CPU part"))
        })
        .map_or("unknown CPU", |rest| {
            rest.trim_start_matches([' ', '\t', ':'])
        });
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    (model.to_owned(), kernel.trim().to_owned(), usable().len())
}

/// The CPUs that the program was given, before it pinned anything.
pub(crate) fn usable() -> Vec<usize> {
    static USABLE: std::sync::OnceLock<Vec<usize>> = std::sync::OnceLock::new();
    USABLE
        .get_or_init(|| {
            let mut set = MaybeUninit::<libc::cpu_set_t>::zeroed();
            // SAFETY: `set` is room for the answer; all zeroes are a valid set.
            let set = unsafe {
                libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), set.as_mut_ptr());
                set.assume_init()
            };
            // SAFETY: the index is below the size of the set.
            (0..libc::CPU_SETSIZE as usize)
                .filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, &set) })
                .collect()
        })
        .clone()
}

/// Lets the calling thread run on these CPUs alone.
pub(crate) fn pin(cpus: &[usize]) {
    // SAFETY: all zeroes are the empty set, the indices are below its size, and the call only reads it.
    let failed = unsafe {
        let mut set = MaybeUninit::<libc::cpu_set_t>::zeroed().assume_init();
        for cpu in cpus {
            libc::CPU_SET(*cpu, &mut set);
        }
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set)
    };
    assert_eq!(failed, 0, "the CPUs {cpus:?} cannot be had");
}

/// Pins the calling thread until it is dropped.
pub(crate) struct Pinned(());

impl Pinned {
    pub(crate) fn to(cpu: usize) -> Pinned {
        let usable = usable();
        pin(&[usable[cpu % usable.len()]]);
        Pinned(())
    }

    /// To the first so many.
    pub(crate) fn to_first(count: usize) -> Pinned {
        let usable = usable();
        pin(&usable[..count.min(usable.len())]);
        Pinned(())
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        pin(&usable());
    }
}

/// Where the two workers of a figure run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pins {
    SameCpu,
    TwoCpus,
    Free,
}

impl Pins {
    pub(crate) const ALL: [Pins; 3] = [Pins::SameCpu, Pins::TwoCpus, Pins::Free];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Pins::SameCpu => "one CPU",
            Pins::TwoCpus => "two CPUs",
            Pins::Free => "unpinned",
        }
    }

    /// Pins worker `index`.
    pub(crate) fn apply(self, index: usize) {
        let usable = usable();
        match self {
            Pins::SameCpu => pin(&usable[..1]),
            Pins::TwoCpus => pin(&[usable[index % usable.len()]]),
            Pins::Free => pin(&usable),
        }
    }
}

/// How much of the machine somebody else uses while this lives.
pub(crate) struct Load {
    start: Instant,
    busy: f64,
    own: f64,
}

impl Load {
    pub(crate) fn new() -> Load {
        Load {
            start: Instant::now(),
            busy: busy(),
            own: own(),
        }
    }

    /// The CPU time of others and of the hypervisor, in per cent of all CPUs' time. The kernel counts in 10 ms.
    pub(crate) fn others(&self) -> f64 {
        let all = self.start.elapsed().as_secs_f64() * describe().2 as f64;
        let others = (busy() - self.busy) - (own() - self.own);
        (100.0 * others / all).clamp(0.0, 100.0)
    }
}

/// Seconds that the CPUs have not been idle, steal included.
fn busy() -> f64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields: Vec<f64> = stat
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(1)
        .filter_map(|field| field.parse().ok())
        .collect();
    // user nice system idle iowait irq softirq steal; guest time is part of user.
    let ticks: f64 = [0, 1, 2, 5, 6, 7]
        .iter()
        .filter_map(|index| fields.get(*index))
        .sum();
    ticks / ticks_a_second()
}

/// CPU seconds of this process and of its descendants: those that have been waited for, and those that live (a server that
/// makes processes for us, and what it has waited for).
fn own() -> f64 {
    let used = |who| {
        let mut usage = MaybeUninit::<libc::rusage>::zeroed();
        // SAFETY: `usage` is room for the answer, and zeroes are a valid one.
        let usage = unsafe {
            libc::getrusage(who, usage.as_mut_ptr());
            usage.assume_init()
        };
        [usage.ru_utime, usage.ru_stime]
            .iter()
            .map(|time| time.tv_sec as f64 + time.tv_usec as f64 * 1e-6)
            .sum::<f64>()
    };
    used(libc::RUSAGE_SELF) + used(libc::RUSAGE_CHILDREN) + living_descendants()
}

/// CPU seconds of our descendants that live, and of what they have waited for.
fn living_descendants() -> f64 {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut others: Vec<(u32, u32, f64)> = processes
        .filter_map(|process| {
            let pid = process.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(process.path().join("stat")).ok()?;
            // After the name, which may hold anything: the state, the parent …; proc(5) counts them from 3 on.
            let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
            let number = |at: usize| fields.get(at - 3)?.parse::<u32>().ok();
            // utime, stime, cutime, cstime.
            let ticks: u32 = (14..=17).filter_map(number).sum();
            Some((pid, number(4)?, f64::from(ticks)))
        })
        .collect();
    let mut ticks = 0.0;
    let mut family = vec![std::process::id()];
    while let Some(parent) = family.pop() {
        others.retain(|(pid, its_parent, its_ticks)| {
            let child = *its_parent == parent;
            if child {
                family.push(*pid);
                ticks += its_ticks;
            }
            !child
        });
    }
    ticks / ticks_a_second()
}

fn ticks_a_second() -> f64 {
    // SAFETY: a query of a number.
    unsafe { libc::sysconf(libc::_SC_CLK_TCK) as f64 }
}

/// Writes to stderr what a process is and where it stands.
pub(super) fn show_process(pid: u32) {
    let process = Path::new("/proc").join(pid.to_string());
    let command = fs::read(process.join("cmdline")).unwrap_or_default();
    let command = String::from_utf8_lossy(&command).replace('\0', " ");
    eprintln!("process {pid}: {command}");
    let threads = fs::read_dir(process.join("task"));
    for thread in threads.into_iter().flatten().flatten() {
        let read = |name| fs::read_to_string(thread.path().join(name)).unwrap_or_default();
        // After the name: the state.
        let stat = read("stat");
        let state = stat.rsplit_once(") ").map_or("?", |(_, rest)| &rest[..1]);
        let (number, place, call) = (thread.file_name(), read("wchan"), read("syscall"));
        let call = call.trim();
        eprintln!("    thread {number:?}: {state}, in {place:?}, call {call:?}");
    }
}
