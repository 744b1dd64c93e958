//! fork(2), and what a forked child must forget. Only forks made through libc are seen: a raw `clone` is not.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::*};

static GENERATION: AtomicU32 = AtomicU32::new(0);
static WATCHED: AtomicBool = AtomicBool::new(false);

/// How many forks lie between this process and the one that started the program: anything that belongs to one process
/// remembers the generation it was made in.
#[inline]
pub(crate) fn generation() -> u32 {
    GENERATION.load(Relaxed)
}

/// Asks libc to tell us of forks. Once is enough, but two threads that ask at the same time do so twice: if one waited for the
/// other, a child that is forked meanwhile would wait for ever.
pub(crate) fn watch() {
    if !WATCHED.load(Acquire) {
        // SAFETY: the handler is a plain function that touches atomics and thread locals without destructors only, so
        // it may run in the child of a multi-threaded process.
        unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
        WATCHED.store(true, Release);
    }
}

/// May be called several times for one fork.
extern "C" fn in_child() {
    GENERATION.fetch_add(1, Relaxed);
    super::identity::after_fork();
}

/// Who has returned from a fork.
pub(crate) enum Forked {
    /// The new process, which has the calling thread alone.
    Child,
    /// The old one; the number of the new.
    Parent(u32),
}

/// Forks by libc's fork: the kernel's list of robust mutexes and libc's own locks are in order in the child.
///
/// # Safety
/// No other thread of this process may hold, at this moment, a lock that the child will want and that libc does not
/// look after.
pub(crate) unsafe fn fork() -> io::Result<Forked> {
    watch();
    // SAFETY: the caller's word.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Forked::Child),
        pid => Ok(Forked::Parent(pid.unsigned_abs())),
    }
}

/// Ends the process at once: nothing that the program has registered for its end is run.
pub(crate) fn leave(code: i32) -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(code) }
}
