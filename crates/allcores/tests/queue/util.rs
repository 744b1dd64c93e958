//! What the tests of several files need.

use std::time::{Duration, Instant};

use allcores::multiprocessing::Process;
use serde::{Deserialize, Serialize};

/// How long what must come may take before it counts as never: a hang is for ever, a slow machine is not.
pub(crate) fn patience() -> Duration {
    let seconds = std::env::var("ALLCORES_TEST_PATIENCE").map(|text| text.parse());
    Duration::from_secs(seconds.map_or(60, |seconds| seconds.expect("a number of seconds")))
}

/// Waits until `done`; if that never comes, the test fails.
#[track_caller]
pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        std::thread::sleep(Duration::from_micros(100));
        assert!(began.elapsed() < patience(), "never happened: {what}");
    }
}

/// Waits until that thread sleeps, and listens to all signs of death: it will not look round by itself any more.
#[track_caller]
pub(crate) fn asleep(pid: u32, tid: i32) {
    until("a thread sleeps", || thread_sleeps(pid, tid));
}

/// Waits until some thread of that process sleeps like that.
#[track_caller]
pub(crate) fn process_asleep<R>(process: &Process<R>) {
    let pid = process.pid();
    until("a process sleeps", || {
        threads(pid).into_iter().any(|tid| thread_sleeps(pid, tid))
    });
}

/// Waits until a thread of this process with that name (15 letters at most) sleeps like that.
#[track_caller]
pub(crate) fn named_asleep(name: &str) {
    let pid = std::process::id();
    until("a thread of that name sleeps", || {
        threads(pid).into_iter().any(|tid| {
            let comm = std::fs::read_to_string(format!("/proc/{pid}/task/{tid}/comm"));
            comm.is_ok_and(|comm| comm.trim() == name) && thread_sleeps(pid, tid)
        })
    });
}

fn threads(pid: u32) -> Vec<i32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"));
    let tasks = tasks.into_iter().flatten().flatten();
    tasks
        .filter_map(|task| task.file_name().to_string_lossy().parse().ok())
        .collect()
}

fn thread_sleeps(pid: u32, tid: i32) -> bool {
    // Without FUTEX_WAITV nobody ever sleeps for long.
    let wanted = match std::env::var_os("ALLCORES_NO_WAITV") {
        Some(value) if value != "0" => libc::SYS_futex,
        _ => libc::SYS_futex_waitv,
    };
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{tid}/syscall"));
    let text = text.unwrap_or_default();
    text.split(' ').next().and_then(|word| word.parse().ok()) == Some(wanted)
}

/// This thread's number in the kernel.
pub(crate) fn tid() -> i32 {
    // SAFETY: takes nothing.
    unsafe { libc::gettid() }
}

/// A thread that does `work`, once it sleeps in it.
#[track_caller]
pub(crate) fn sleeping_in<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> std::thread::JoinHandle<T> {
    let (ready, is_ready) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        ready.send(tid()).unwrap();
        work()
    });
    asleep(std::process::id(), is_ready.recv().unwrap());
    thread
}

/// SIGKILL, and waits for its end.
pub(crate) fn kill<R>(process: Process<R>) {
    process.kill().unwrap();
    let _ = process.join();
}

/// A message that says who put it, and which one of its it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Parcel {
    pub(crate) from: u32,
    pub(crate) number: u32,
    /// Text, since serde writes that in one piece.
    pub(crate) filling: String,
}

impl Parcel {
    pub(crate) fn new(from: u32, number: u32, length: usize) -> Parcel {
        let filling = filling(from.wrapping_mul(31).wrapping_add(number), length);
        let filling = String::from_utf8(filling).unwrap();
        Parcel {
            from,
            number,
            filling,
        }
    }

    #[track_caller]
    pub(crate) fn check(&self) {
        let whole = Parcel::new(self.from, self.number, self.filling.len());
        assert!(
            *self == whole,
            "parcel {} of {} is damaged",
            self.number,
            self.from
        );
    }
}

/// Bytes that tell where they belong.
pub(crate) fn filling(seed: u32, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    // A prime number of them, so that no two places of a segment look alike.
    let block: Vec<u8> = (0..1021)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state as u8 & 0x7f
        })
        .collect();
    let mut all = block.repeat(length.div_ceil(block.len()));
    all.truncate(length);
    all
}
