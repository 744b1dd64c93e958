//! Signals that must not reach the program, and what a child process starts with. See sigaction(2), signal(7).

use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd, OwnedFd};
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

/// While this lives, no signal handler runs in this thread.
pub(crate) struct HeldSignals(libc::sigset_t);

impl HeldSignals {
    pub(crate) fn all() -> HeldSignals {
        let mut before = none();
        // SAFETY: two initialised sets. It cannot fail; if it did, the empty mask would be put back.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &all(), &mut before) };
        HeldSignals(before)
    }
}

impl Drop for HeldSignals {
    fn drop(&mut self) {
        // SAFETY: the mask that this thread had.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.0, null_mut()) };
    }
}

/// Has the kernel kill this process when the thread that has started it ends; or no longer.
pub(crate) fn end_with_parent(yes: bool) {
    let signal = if yes { libc::SIGKILL } else { 0 };
    // SAFETY: a plain number.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal) };
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

/// Lets every signal through in this thread.
pub(crate) fn unblock_all() {
    // SAFETY: the set is initialised; the old mask is not asked for.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &none(), null_mut()) };
}

/// Gives every signal its default action, but SIGPIPE, which stays ignored.
pub(crate) fn forget_handlers() {
    // Those beyond are libc's own and cannot be asked about.
    for signal in 1..=libc::SIGRTMAX() {
        let mut action = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: a query: nothing is installed, and `action` is room for the answer.
        let failed = unsafe { libc::sigaction(signal, null(), action.as_mut_ptr()) } != 0;
        // SAFETY: filled by the call, or zero, which is a valid value of every field.
        let default = unsafe { action.assume_init() }.sa_sigaction == libc::SIG_DFL;
        if !failed && !default && signal != libc::SIGPIPE {
            // SAFETY: the default action is no code of ours.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
    }
}

/// Whether the kernel shall collect the children of this process by itself as soon as they end (SIGCHLD ignored), or
/// leaves that to us (the default).
pub(crate) fn collect_children_at_once(at_once: bool) {
    let action = if at_once {
        libc::SIG_IGN
    } else {
        libc::SIG_DFL
    };
    // SAFETY: neither is code of ours.
    unsafe { libc::signal(libc::SIGCHLD, action) };
}

/// A descriptor that can be read when a child has ended. SIGCHLD must be blocked in all threads.
pub(crate) fn child_teller() -> std::io::Result<OwnedFd> {
    let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
    // SAFETY: a new descriptor for an initialised set.
    match unsafe { libc::signalfd(-1, &set_of(libc::SIGCHLD), flags) } {
        -1 => Err(std::io::Error::last_os_error()),
        // SAFETY: just made, and nobody else's.
        fd => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
    }
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
