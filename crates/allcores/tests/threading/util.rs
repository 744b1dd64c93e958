//! What the tests of `threading` share.

use std::time::Duration;

use allcores::threading::ThreadHandle;

/// As long as anything could take, and still no reason to fail.
pub(crate) const LONG: Duration = Duration::from_secs(60 * 60);
/// Long enough to be a wait, short enough for a test.
pub(crate) const SHORT: Duration = Duration::from_millis(20);
/// The longest there is: some 580 billion years.
pub(crate) const CENTURIES: Duration = Duration::MAX;

/// Returns once `done` holds; whoever makes it so is on the way.
pub(crate) fn until(mut done: impl FnMut() -> bool) {
    while !done() {
        std::thread::yield_now();
    }
}

/// Returns once the thread runs and the kernel says that it sleeps. It must have nothing else to sleep on than what the
/// test is about.
pub(crate) fn until_asleep(thread: &ThreadHandle) {
    until(|| thread.native_id().is_some_and(is_asleep));
}

pub(crate) fn is_asleep(native_id: u32) -> bool {
    let task = format!("/proc/self/task/{native_id}");
    // Which system call a sleeping thread is in; where that may not be read, that it sleeps must do.
    if let Ok(call) = std::fs::read_to_string(format!("{task}/syscall")) {
        let number = call.split(' ').next().and_then(|n| n.parse().ok());
        return [libc::SYS_futex, libc::SYS_futex_waitv]
            .map(Some)
            .contains(&number);
    }
    let stat = std::fs::read_to_string(format!("{task}/stat"));
    // `pid (name) state …`, and the name may contain anything.
    stat.is_ok_and(|stat| {
        stat.rsplit(") ")
            .next()
            .is_some_and(|rest| rest.starts_with('S'))
    })
}
