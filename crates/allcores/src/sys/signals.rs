//! Signals that must not reach the program, and what a child process starts with. See sigaction(2), signal(7).

use std::mem::MaybeUninit;
use std::ptr::{null, null_mut};

/// While this lives, a SIGPIPE of this thread's making is held back; it is eaten in the end, unless one was pending
/// before. Costs one system call where the program ignores the signal, as Rust programs do.
pub(crate) struct HeldSigpipe(Option<libc::sigset_t>);

impl HeldSigpipe {
    pub(crate) fn new() -> HeldSigpipe {
        if is_ignored(libc::SIGPIPE) || is_pending(libc::SIGPIPE) {
            return HeldSigpipe(None);
        }
        let pipe = set_of(libc::SIGPIPE);
        let mut before = MaybeUninit::uninit();
        // SAFETY: `pipe` is an initialised set, and `before` is room for one.
        let failed =
            unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &pipe, before.as_mut_ptr()) } != 0;
        // SAFETY: the call succeeded, so it has filled `before`.
        HeldSigpipe((!failed).then(|| unsafe { before.assume_init() }))
    }
}

impl Drop for HeldSigpipe {
    fn drop(&mut self) {
        let Some(before) = self.0 else { return };
        let pipe = set_of(libc::SIGPIPE);
        let at_once = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: the set and the time are initialised; no information is asked for.
        unsafe { libc::sigtimedwait(&pipe, null_mut(), &at_once) };
        // SAFETY: `before` is the mask that this thread had.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &before, null_mut()) };
    }
}

/// Ignores SIGPIPE, as std does before `main`: a broken pipe is an error of the write, not the end of the process.
pub(crate) fn ignore_sigpipe() {
    // SAFETY: SIG_IGN installs no code.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

/// Blocks every signal in this thread.
pub(crate) fn block_all() {
    // SAFETY: the set is initialised; the old mask is not asked for.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &all(), null_mut()) };
}

fn is_ignored(signal: i32) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: a query: nothing is installed, and `action` is room for the answer.
    unsafe { libc::sigaction(signal, null(), action.as_mut_ptr()) };
    // SAFETY: filled by the call, or zero, which is a valid value of every field.
    unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN
}

fn is_pending(signal: i32) -> bool {
    let mut set = none();
    // SAFETY: `set` is room for the answer, and stays valid if the call fails.
    unsafe { libc::sigpending(&mut set) };
    // SAFETY: `set` is initialised.
    unsafe { libc::sigismember(&set, signal) == 1 }
}

/// The empty set.
pub(crate) fn none() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: the call fills the set, and cannot fail.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: just filled.
    unsafe { set.assume_init() }
}

/// Every signal.
pub(crate) fn all() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: the call fills the set, and cannot fail.
    unsafe { libc::sigfillset(set.as_mut_ptr()) };
    // SAFETY: just filled.
    unsafe { set.assume_init() }
}

fn set_of(signal: i32) -> libc::sigset_t {
    let mut set = none();
    // SAFETY: `set` is initialised.
    unsafe { libc::sigaddset(&mut set, signal) };
    set
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::IoSlice;

    #[test]
    fn a_held_sigpipe_is_eaten() {
        let (reader, writer) = crate::sys::fds::pipe().unwrap();
        drop(reader);
        // SAFETY: the default action is no code of ours.
        let before = unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
        let held = HeldSigpipe::new();
        let written = rustix::io::writev(&writer, &[IoSlice::new(b"x")]);
        let came = is_pending(libc::SIGPIPE);
        drop(held);
        let left = is_pending(libc::SIGPIPE);
        // SAFETY: what was installed before is put back.
        unsafe { libc::signal(libc::SIGPIPE, before) };
        assert_eq!(written, Err(rustix::io::Errno::PIPE));
        assert!(came && !left);
    }
}
