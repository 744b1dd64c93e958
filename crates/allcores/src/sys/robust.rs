//! pthread robust mutexes in shared memory: a word that the kernel itself changes when the thread that holds it dies.
//!
//! Real pthread mutexes and not list entries of our own, so that libc's robust list stays in libc's hands. The kernel
//! walks that list before it tears the address space down, hence the news comes early however big the dead process was.
//! See robust-futexes and robust-futex-ABI in the kernel's documentation.

use std::cell::{Cell, UnsafeCell};
use std::io;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU32, Ordering::*, compiler_fence};

const WAITERS: u32 = 0x8000_0000;
const OWNER_DIED: u32 = 0x4000_0000;
const TID: u32 = 0x3FFF_FFFF;

/// What the word of a robust mutex says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sign {
    /// A living thread holds it.
    Held,
    /// The thread that held it died.
    Rung,
    /// Nobody holds it.
    Free,
}

pub(crate) const fn sign(word: u32) -> Sign {
    if word & TID != 0 {
        Sign::Held
    } else if word & OWNER_DIED != 0 {
        Sign::Rung
    } else {
        Sign::Free
    }
}

/// Whether the kernel will wake a sleeper when the holder dies.
pub(crate) const fn rings(word: u32) -> bool {
    word & WAITERS != 0
}

thread_local! {
    /// How many calls of this thread are at libc's robust list: more than one where a signal handler interrupts another.
    static AT_THE_LIST: Cell<u32> = const { Cell::new(0) };
}

/// Runs `work`, in which libc changes this thread's robust list.
fn at_the_list<T>(work: impl FnOnce() -> T) -> T {
    AT_THE_LIST.with(|many| many.set(many.get() + 1));
    // For a signal handler of this very thread: the note is there before the list is touched, and until it is whole again.
    compiler_fence(SeqCst);
    let result = work();
    compiler_fence(SeqCst);
    AT_THE_LIST.with(|many| many.set(many.get() - 1));
    result
}

/// Whether this is a signal handler that has interrupted this thread in a change of libc's robust list, which is no place to
/// change it once more: the kernel would find a list without its end, or without what was put there.
pub(crate) fn is_at_the_list() -> bool {
    AT_THE_LIST.with(Cell::get) != 0
}

/// A robust, process-shared mutex.
#[repr(C)]
pub(crate) struct Robust(UnsafeCell<libc::pthread_mutex_t>);

// SAFETY: a process-shared pthread mutex is made to be used by many threads at once.
unsafe impl Sync for Robust {}

impl Robust {
    /// Makes a free mutex here. For memory that nobody else locks yet.
    pub(crate) fn init(&self) {
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: the attribute object is initialised by the first call and destroyed by the last; the mutex is `self`,
        // which the caller says nobody locks.
        unsafe {
            libc::pthread_mutexattr_init(attributes.as_mut_ptr());
            libc::pthread_mutexattr_setpshared(
                attributes.as_mut_ptr(),
                libc::PTHREAD_PROCESS_SHARED,
            );
            libc::pthread_mutexattr_setrobust(attributes.as_mut_ptr(), libc::PTHREAD_MUTEX_ROBUST);
            let made = libc::pthread_mutex_init(self.0.get(), attributes.as_ptr());
            assert_eq!(
                made,
                0,
                "this libc has no robust process-shared mutexes: {}",
                io::Error::from_raw_os_error(made)
            );
            libc::pthread_mutexattr_destroy(attributes.as_mut_ptr());
        }
    }

    /// Whether these are the bytes of one, as far as its kind goes.
    pub(crate) fn is_one(bytes: &[u8]) -> bool {
        let model = Robust(UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER));
        model.init();
        // SAFETY: a mutex that nobody else knows of; reading its bytes asks for no more than that they are initialised.
        let model =
            unsafe { std::slice::from_raw_parts(model.0.get().cast::<u8>(), size_of::<Robust>()) };
        // The kind is an int behind the word, the count, the owner and the number of users, in glibc on both machines.
        const KIND: std::ops::Range<usize> = 16..20;
        bytes.get(KIND) == model.get(KIND)
    }

    /// The word that the kernel changes: libc keeps it first, on x86-64 and aarch64 alike.
    pub(crate) fn word(&self) -> &AtomicU32 {
        // SAFETY: the mutex begins with an aligned int that is only ever accessed atomically.
        unsafe { AtomicU32::from_ptr(self.0.get().cast()) }
    }

    pub(crate) fn sign(&self) -> Sign {
        sign(self.word().load(Acquire))
    }

    /// Takes it; `true` if its last owner died with it.
    pub(crate) fn lock(&self) -> bool {
        loop {
            // In slices, so that no wake-up lost in a dying process can hold us for ever (kernels before 5.5).
            let slice = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
            let until = libc::timespec {
                tv_sec: slice.tv_sec + 1,
                tv_nsec: slice.tv_nsec,
            };
            // SAFETY: an initialised mutex and a valid time.
            match at_the_list(|| unsafe { libc::pthread_mutex_timedlock(self.0.get(), &until) }) {
                0 => return false,
                libc::EOWNERDEAD => {
                    self.make_consistent();
                    return true;
                }
                libc::ETIMEDOUT => {}
                other => panic!(
                    "a robust mutex cannot be locked: {}",
                    io::Error::from_raw_os_error(other)
                ),
            }
        }
    }

    /// Takes it if no living thread has it.
    pub(crate) fn try_lock(&self) -> bool {
        // SAFETY: an initialised mutex.
        match at_the_list(|| unsafe { libc::pthread_mutex_trylock(self.0.get()) }) {
            0 => true,
            libc::EOWNERDEAD => {
                self.make_consistent();
                true
            }
            _ => false,
        }
    }

    fn make_consistent(&self) {
        // SAFETY: we hold the mutex after EOWNERDEAD, as the call asks.
        unsafe { libc::pthread_mutex_consistent(self.0.get()) };
    }

    /// For the thread that holds it: has the kernel wake one who sleeps on the word when this thread dies.
    pub(crate) fn ring_on_death(&self) {
        self.word().fetch_or(WAITERS, Release);
    }

    /// For the thread that holds it.
    pub(crate) fn unlock(&self) {
        // SAFETY: an initialised mutex; EPERM, where the caller errs, changes nothing.
        at_the_list(|| unsafe { libc::pthread_mutex_unlock(self.0.get()) });
    }
}
