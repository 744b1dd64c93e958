//! What the tests of several files start.

use allcores::multiprocessing::{Connection, Pipe, Process, StartMethod, start_method};

/// Says `up`, then waits until its far end is told to go on, or is dropped.
pub(crate) fn stand_by(end: Connection<u8, u8>) -> Option<u8> {
    end.send(&0).unwrap();
    end.recv().ok()
}

/// Every way to start a process. What is not told otherwise uses the default.
pub(crate) const METHODS: [StartMethod; 2] = [StartMethod::Spawn, StartMethod::ForkServer];

/// A process that runs until `release`d.
pub(crate) fn standing_by() -> (Process<Option<u8>>, Connection<u8, u8>) {
    standing_by_started(start_method())
}

/// The same, started in this way.
pub(crate) fn standing_by_started(
    method: StartMethod,
) -> (Process<Option<u8>>, Connection<u8, u8>) {
    let (there, here) = Pipe().unwrap();
    let p = Process::new(stand_by, there).start_method(method);
    let p = p.start().unwrap();
    assert_eq!(here.recv().unwrap(), 0);
    (p, here)
}

pub(crate) fn exit_with(code: i32) {
    std::process::exit(code)
}

pub(crate) fn add((a, b): (u64, u64)) -> u64 {
    a + b
}

/// Forks without a `Process`, as foreign code does. The forked process runs `work` and exits with 0.
pub(crate) fn forked(work: impl FnOnce()) -> i32 {
    // SAFETY: the child uses this thread only, ends by _exit, and glibc keeps its allocator usable after a fork.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        work();
        // SAFETY: leaves without running the parent's exit handlers.
        unsafe { libc::_exit(0) };
    }
    pid
}
