//! Memory that a test shares with its processes, apart from what it tests.

use std::sync::atomic::{AtomicU32, Ordering::*};

/// A zeroed `T` in anonymous shared memory, for ever: forked processes see one and the same.
///
/// # Safety
/// All bytes zero must be a valid `T`; it should be made of atomics.
pub(crate) unsafe fn page<T: Sync>() -> &'static T {
    assert!(align_of::<T>() <= 4096);
    // SAFETY: a new mapping at a place that the kernel chooses.
    let place = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            size_of::<T>(),
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    assert_ne!(place, libc::MAP_FAILED, "no shared page");
    // SAFETY: zeroed, aligned to a page, never unmapped; that zeroes are a valid `T` is the caller's word.
    unsafe { &*place.cast::<T>() }
}

/// A number that processes move and wait for: the tests' own handshake, on a bare futex.
#[derive(Default)]
pub(crate) struct Gate(AtomicU32);

impl Gate {
    pub(crate) fn now(&self) -> u32 {
        self.0.load(SeqCst)
    }

    pub(crate) fn set(&self, value: u32) {
        self.0.store(value, SeqCst);
        self.wake();
    }

    /// Moves it by one; what it is now.
    pub(crate) fn advance(&self) -> u32 {
        let now = self.0.fetch_add(1, SeqCst) + 1;
        self.wake();
        now
    }

    fn wake(&self) {
        // SAFETY: the address is a key only.
        unsafe { libc::syscall(libc::SYS_futex, self.0.as_ptr(), libc::FUTEX_WAKE, i32::MAX) };
    }

    /// Waits until it is at least `value`, for as long as that takes: those who drive a test watch the time.
    pub(crate) fn wait(&self, value: u32) {
        loop {
            let now = self.now();
            if now >= value {
                return;
            }
            // SAFETY: a live word, and no time limit.
            unsafe {
                libc::syscall(
                    libc::SYS_futex,
                    self.0.as_ptr(),
                    libc::FUTEX_WAIT,
                    now,
                    std::ptr::null::<libc::timespec>(),
                )
            };
        }
    }
}
