//! What a process hands down to those it starts, and what a forked process takes on in its stead. See fork(2), execve(2).

use std::ffi::{CStr, c_char};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::null_mut;

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

use super::known::Known;
use super::signals::HeldSignals;

/// Limits that Linux knows of (`RLIM_NLIMITS`).
const LIMITS: usize = 16;

/// The numbers among it, read for the calling thread.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Surroundings {
    umask: u32,
    /// The process group; 0 if its leader lies outside our namespace of processes, as in many containers.
    group: i32,
    nice: i32,
    /// One bit for each CPU; no zero words at the end.
    cpus: Vec<u64>,
    /// Soft and hard.
    limits: [(u64, u64); LIMITS],
}

/// Tells the umask. umask(2) tells it by changing it, for a moment and for all threads, so that where there may be others
/// it is read in /proc instead, for ten times the price.
pub(crate) struct UmaskTeller(OwnedFd);

impl UmaskTeller {
    pub(crate) fn new() -> io::Result<UmaskTeller> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let status = rustix::fs::open(c"/proc/self/status", flags, Mode::empty())?;
        Ok(UmaskTeller(status))
    }

    fn ask(&self) -> io::Result<u32> {
        if this_thread_is_alone() {
            return Ok(umask_by_changing_it());
        }
        self.read()
    }

    fn read(&self) -> io::Result<u32> {
        // The second line.
        let mut text = [0; 128];
        let length = rustix::io::retry_on_intr(|| rustix::io::pread(&self.0, &mut text[..], 0))?;
        umask_in(&text[..length]).ok_or_else(|| {
            io::Error::other("/proc/self/status does not tell the umask (before Linux 4.7?)")
        })
    }
}

/// Only where no other thread could make a file meanwhile.
fn umask_by_changing_it() -> u32 {
    // No handler of a signal runs in between either; and if one could, nobody else had access to what it makes.
    let held = HeldSignals::all();
    let before = rustix::process::umask(Mode::from_raw_mode(0o777));
    rustix::process::umask(before);
    drop(held);
    before.as_raw_mode()
}

/// Whether libc knows that this thread is the only one. (It does not always notice that others have gone.)
pub(crate) fn this_thread_is_alone() -> bool {
    static SINGLE: Known<usize> = Known::new();
    let single = *SINGLE.get_or(|| {
        // SAFETY: looks for a name among the symbols that are loaded.
        unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"__libc_single_threaded".as_ptr()) as usize }
    });
    // SAFETY: libc's own variable, one byte that lives as long as the process (since glibc 2.32). Only a thread that is
    // not alone could see it change.
    single != 0 && unsafe { (single as *const u8).read_volatile() } != 0
}

fn umask_in(status: &[u8]) -> Option<u32> {
    let mut lines = status.split(|byte| *byte == b'\n');
    let digits = lines.find_map(|line| line.strip_prefix(b"Umask:\t"))?;
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()
}

impl Surroundings {
    pub(crate) fn of_this_thread(umask: &UmaskTeller) -> io::Result<Surroundings> {
        Ok(Surroundings {
            umask: umask.ask()?,
            // SAFETY: a question without pointers. (rustix has no value for 0.)
            group: unsafe { libc::getpgrp() },
            nice: rustix::process::getpriority_process(None)?,
            cpus: affinity()?,
            limits: std::array::from_fn(limit),
        })
    }

    /// Whether there is one CPU for those who have either of them: what one does the other waits for.
    pub(crate) fn share_one_cpu(&self, other: &Surroundings) -> bool {
        let count: u32 = self.cpus.iter().map(|word| word.count_ones()).sum();
        count == 1 && self.cpus == other.cpus
    }

    /// The soft limit of a first thread's stack.
    pub(crate) fn stack(&self) -> u64 {
        self.limits[libc::RLIMIT_STACK as usize].0
    }

    /// Makes them this process's own, who has those of `before`. What failed, if something does.
    pub(crate) fn take_on(&self, before: &Surroundings) -> Result<(), (&'static str, io::Error)> {
        if self.umask != before.umask {
            rustix::process::umask(Mode::from_raw_mode(self.umask));
        }
        if self.group != before.group {
            // The group may have lost its last process meanwhile, or belong to another session.
            // A group outside our namespace has no name here, and 0 would ask for a new one.
            let Some(group) = rustix::process::Pid::from_raw(self.group) else {
                return Err((
                    "its process group",
                    io::Error::from(rustix::io::Errno::PERM),
                ));
            };
            rustix::process::setpgid(None, Some(group))
                .map_err(|error| ("its process group", error.into()))?;
        }
        if self.nice != before.nice {
            rustix::process::setpriority_process(None, self.nice)
                .map_err(|error| ("its nice value", error.into()))?;
        }
        if self.cpus != before.cpus {
            set_affinity(&self.cpus).map_err(|error| ("its CPUs", error))?;
        }
        let limits = self.limits.iter().zip(&before.limits).enumerate();
        for (number, (limit, _)) in limits.filter(|(_, (limit, before))| limit != before) {
            set_limit(number, *limit).map_err(|error| ("a resource limit", error))?;
        }
        Ok(())
    }
}

fn affinity() -> io::Result<Vec<u64>> {
    let mut words = vec![0u64; 16];
    loop {
        let bytes = size_of_val(&words[..]);
        // SAFETY: room for that many bytes; of the calling thread.
        match unsafe { libc::sched_getaffinity(0, bytes, words.as_mut_ptr().cast()) } {
            0 => break,
            _ => match io::Error::last_os_error() {
                // There are more CPUs than that.
                error if error.raw_os_error() == Some(libc::EINVAL) && words.len() < 1 << 14 => {
                    words.resize(words.len() * 2, 0);
                }
                error => return Err(error),
            },
        }
    }
    let used = words.iter().rposition(|word| *word != 0);
    words.truncate(used.map_or(0, |last| last + 1));
    Ok(words)
}

fn set_affinity(words: &[u64]) -> io::Result<()> {
    // SAFETY: that many bytes, which are read only.
    match unsafe { libc::sched_setaffinity(0, size_of_val(words), words.as_ptr().cast()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// An unknown limit counts as none.
fn limit(number: usize) -> (u64, u64) {
    let mut limit = libc::rlimit64 {
        rlim_cur: u64::MAX,
        rlim_max: u64::MAX,
    };
    // SAFETY: a question; room for the answer.
    unsafe { libc::prlimit64(0, number as _, std::ptr::null(), &mut limit) };
    (limit.rlim_cur, limit.rlim_max)
}

fn set_limit(number: usize, (soft, hard): (u64, u64)) -> io::Result<()> {
    let limit = libc::rlimit64 {
        rlim_cur: soft,
        rlim_max: hard,
    };
    // SAFETY: a value that lives during the call; the old one is not asked for.
    match unsafe { libc::prlimit64(0, number as _, &limit, null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The working directory of the calling thread, whatever its name is by now.
pub(crate) fn working_directory() -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(c".", flags, Mode::empty())?)
}

pub(crate) fn go_to(directory: BorrowedFd<'_>) -> io::Result<()> {
    Ok(rustix::process::fchdir(directory)?)
}

/// Whether a started process would find this standard stream open.
pub(crate) fn hands_down(stream: i32) -> Option<BorrowedFd<'static>> {
    // SAFETY: asks whether the number is in use, and nothing else.
    let flags = unsafe { libc::fcntl(stream, libc::F_GETFD) };
    // SAFETY: open a moment ago; a program that closes its standard streams while it starts processes has one or the
    // other there, as with any start.
    (flags >= 0 && flags & libc::FD_CLOEXEC == 0).then(|| unsafe { BorrowedFd::borrow_raw(stream) })
}

/// Makes `stream`, which is 0, 1 or 2, another descriptor for the same thing as `source`; executed programs get it too.
pub(crate) fn redirect(stream: i32, source: &impl AsFd) -> io::Result<()> {
    // SAFETY: plain numbers; whatever had this number is closed, which is the purpose.
    match unsafe { libc::dup2(source.as_fd().as_raw_fd(), stream) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Has the standard streams lead nowhere.
pub(crate) fn silence() -> io::Result<()> {
    let null = rustix::fs::open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    (0..=2).try_for_each(|stream| redirect(stream, &null))
}

/// Appends the environment, with a NUL behind each entry; what has no name is left out, as std does.
///
/// # Safety
/// Nobody changes it meanwhile.
pub(crate) unsafe fn environment(block: &mut Vec<u8>) {
    unsafe extern "C" {
        static environ: *const *const c_char;
    }
    // SAFETY: libc's own variable (environ(7)): null, or a list that ends with null.
    let mut next = unsafe { environ };
    while !next.is_null() {
        // SAFETY: within the list.
        let entry = unsafe { next.read() };
        if entry.is_null() {
            return;
        }
        // SAFETY: its entries are strings that live until somebody changes the environment.
        let entry = unsafe { CStr::from_ptr(entry) }.to_bytes_with_nul();
        // A name may begin with `=`.
        if entry.iter().skip(1).any(|byte| *byte == b'=') {
            block.extend_from_slice(entry);
        }
        // SAFETY: that was not the last one.
        next = unsafe { next.add(1) };
    }
}

/// Replaces the environment: strings with a NUL at the end of each. They are leaked.
///
/// # Safety
/// No other thread may exist.
pub(crate) unsafe fn replace_environment(strings: Vec<u8>) {
    unsafe extern "C" {
        static mut environ: *const *const c_char;
    }
    let strings: &'static [u8] = strings.leak();
    let each = strings.split_inclusive(|byte| *byte == 0);
    // One that does not end, which nobody sends, would be read beyond its end.
    let whole = each.filter(|string| string.ends_with(&[0]));
    let pointers = whole.map(|string| string.as_ptr().cast::<c_char>());
    let pointers: Vec<_> = pointers.chain([std::ptr::null()]).collect();
    // SAFETY: libc's own variable, which programs may set (environ(7)); it ends with null and is never freed, and nobody
    // reads it now, as there is no other thread.
    unsafe { environ = pointers.leak().as_ptr() };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_umask_is_told_and_left_alone() {
        let told = UmaskTeller::new().unwrap().read().unwrap();
        let again = UmaskTeller::new().unwrap().ask().unwrap();
        assert_eq!(told, again);
        assert_eq!(umask_in(b"Name:\tcat\nUmask:\t0027\nState:\tR"), Some(0o27));
        assert_eq!(umask_in(b"Name:\tUmask:\t0\n"), None);
    }

    #[test]
    fn taking_on_what_one_has_changes_nothing() {
        let teller = UmaskTeller::new().unwrap();
        let mine = Surroundings::of_this_thread(&teller).unwrap();
        mine.take_on(&mine).unwrap();
        assert_eq!(Surroundings::of_this_thread(&teller).unwrap(), mine);
        assert!(mine.cpus.iter().any(|word| *word != 0));
    }
}
