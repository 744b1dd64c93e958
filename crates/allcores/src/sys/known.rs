//! What is found out once and is known from then on, also in a process that was forked meanwhile.
//!
//! std's `OnceLock`, `LazyLock` and `Once` have whoever comes second wait for the first. In a forked process that may be a
//! thread that did not come along, and the wait is for ever. Here nobody waits: several may find the same out at the same
//! time, and whoever is first is believed.

use std::marker::PhantomData;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicU8, Ordering::*};

/// A value that is made when it is first asked for.
pub struct Known<T> {
    value: AtomicPtr<T>,
    owns: PhantomData<T>,
}

impl<T: Send + Sync> Known<T> {
    /// Unknown.
    pub const fn new() -> Known<T> {
        Known {
            value: AtomicPtr::new(null_mut()),
            owns: PhantomData,
        }
    }

    /// The value, if it is known.
    pub fn get(&self) -> Option<&T> {
        // SAFETY: null, or from a box that lives as long as `self`.
        unsafe { self.value.load(Acquire).as_ref() }
    }

    /// The value; `find` makes it unless it is known, and what it makes is dropped if another thread was quicker.
    pub fn get_or(&self, find: impl FnOnce() -> T) -> &T {
        if let Some(known) = self.get() {
            return known;
        }
        let mine = Box::into_raw(Box::new(find()));
        let known = match self
            .value
            .compare_exchange(null_mut(), mine, AcqRel, Acquire)
        {
            Ok(_) => mine,
            Err(theirs) => {
                // SAFETY: made just now, and nobody else has seen it.
                drop(unsafe { Box::from_raw(mine) });
                theirs
            }
        };
        // SAFETY: from a box that lives as long as `self`.
        unsafe { &*known }
    }
}

impl<T: Send + Sync> Default for Known<T> {
    fn default() -> Known<T> {
        Known::new()
    }
}

impl<T> Drop for Known<T> {
    fn drop(&mut self) {
        let value = *self.value.get_mut();
        if !value.is_null() {
            // SAFETY: from a box, and nobody borrows it any more.
            drop(unsafe { Box::from_raw(value) });
        }
    }
}

const UNKNOWN: u8 = 0;
const YES: u8 = 1;
const NO: u8 = 2;

/// Whether something is so, without a heap: for signal handlers too.
pub(crate) struct Whether(AtomicU8);

impl Whether {
    pub(crate) const fn new() -> Whether {
        Whether(AtomicU8::new(UNKNOWN))
    }

    /// The answer; `find` gives it unless it is known.
    pub(crate) fn get_or(&self, find: impl FnOnce() -> bool) -> bool {
        match self.0.load(Relaxed) {
            UNKNOWN => {
                let found = find();
                self.0.store(if found { YES } else { NO }, Relaxed);
                found
            }
            known => known == YES,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn it_is_found_out_once_and_dropped_once() {
        struct Counts<'a>(&'a AtomicU8);
        impl Drop for Counts<'_> {
            fn drop(&mut self) {
                self.0.fetch_add(1, Relaxed);
            }
        }
        let (dropped, known) = (AtomicU8::new(0), Known::new());
        assert!(known.get().is_none());
        let first = std::ptr::from_ref(known.get_or(|| {
            // Another one is quicker.
            known.get_or(|| Counts(&dropped));
            Counts(&dropped)
        }));
        assert_eq!(dropped.load(Relaxed), 1, "the slower one's");
        assert!(std::ptr::eq(known.get_or(|| unreachable!()), first));
        drop(known);
        assert_eq!(dropped.load(Relaxed), 2);
        let whether = Whether::new();
        assert!(!whether.get_or(|| false) && !whether.get_or(|| unreachable!()));
    }

    /// Seen red: with std's OnceLock.
    #[test]
    fn a_forked_process_does_not_wait_for_a_thread_that_was_finding_it_out() {
        let (known, whether) = (&Known::new(), &Whether::new());
        let (begun, has_begun) = channel();
        let (go_on, may_go_on) = channel::<()>();
        std::thread::scope(|scope| {
            let finder = scope.spawn(move || {
                let known = *known.get_or(|| {
                    whether.get_or(|| {
                        begun.send(()).unwrap();
                        may_go_on.recv().is_err()
                    });
                    1
                });
                (known, whether.get_or(|| unreachable!()))
            });
            has_begun.recv().unwrap();
            // SAFETY: the child uses this thread only, and glibc keeps its allocator usable after a fork.
            let pid = unsafe { libc::fork() };
            if pid == 0 {
                // SAFETY: plain numbers. A child that hangs is ended by SIGALRM.
                unsafe { libc::alarm(60) };
                let good = *known.get_or(|| 2) == 2 && whether.get_or(|| true);
                // SAFETY: leaves without running anything of its parent's.
                unsafe { libc::_exit(if good { 7 } else { 1 }) };
            }
            let mut status = 0;
            // SAFETY: our own child, and a place for its status.
            assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
            drop(go_on);
            assert_eq!(status, 7 << 8, "the forked process: {status:#x}");
            assert_eq!(finder.join().unwrap(), (1, true));
        });
    }
}
