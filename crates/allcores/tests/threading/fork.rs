//! What the tests of forks share.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, Once};

/// Runs `check` in a forked child, and fails if it does not return true there, within a minute.
///
/// One at a time: no other thread of this program then holds what a panic needs (the panic hook does nothing).
pub(crate) fn in_child(check: impl FnOnce() -> bool) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    static QUIET: Once = Once::new();
    QUIET.call_once(|| std::panic::set_hook(Box::new(|_| ())));
    let _one = ONE_AT_A_TIME
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    // SAFETY: the child runs nothing but `check`, which uses this library and glibc's allocator, both made for that, and
    // then leaves without running anything of its parent's.
    match unsafe { libc::fork() } {
        0 => {
            // SAFETY: alarm and _exit take plain numbers. A child that hangs is ended by SIGALRM.
            unsafe { libc::alarm(60) };
            let code = match catch_unwind(AssertUnwindSafe(check)) {
                Ok(true) => 0,
                Ok(false) => 1,
                Err(_) => 2,
            };
            // SAFETY: as above.
            unsafe { libc::_exit(code) }
        }
        child => {
            assert!(child > 0, "fork: {}", std::io::Error::last_os_error());
            let mut status = 0;
            // SAFETY: our own child, and a place for its status.
            assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
            assert!(
                libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0,
                "the child ended with status {status:#x} (0x100: false, 0x200: a panic, 0xe: it hung)"
            );
        }
    }
}
