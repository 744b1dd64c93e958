//! What libc and the kernel offer for the same jobs, and memory that forked processes share.

use std::cell::UnsafeCell;
use std::io::{PipeReader, PipeWriter};
use std::mem::MaybeUninit;
use std::ops::Deref;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicU32, Ordering::*};

use super::pair::Signal;

/// A value in memory that forked children share with their parent.
pub(crate) struct Shared<T> {
    place: NonNull<T>,
}

// SAFETY: gives `&T` only.
unsafe impl<T: Sync> Sync for Shared<T> {}
// SAFETY: as above; what is dropped is the mapping, never the `T`.
unsafe impl<T: Sync> Send for Shared<T> {}

impl<T> Shared<T> {
    pub(crate) fn new(value: T) -> Shared<T> {
        const { assert!(align_of::<T>() <= 4096 && !std::mem::needs_drop::<T>()) };
        let (access, flags) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
        );
        // SAFETY: a new mapping where the kernel likes.
        let place = unsafe { libc::mmap(null_mut(), size_of::<T>(), access, flags, -1, 0) };
        assert_ne!(place, libc::MAP_FAILED, "no memory to share");
        let place = NonNull::new(place.cast::<T>()).expect("a mapping is never at 0");
        // SAFETY: fresh memory, page-aligned, large enough.
        unsafe { place.write(value) };
        Shared { place }
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: mapped and initialised until we are dropped.
        unsafe { self.place.as_ref() }
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        // SAFETY: our own mapping, which nobody borrows any more; children have mappings of their own.
        unsafe { libc::munmap(self.place.as_ptr().cast(), size_of::<T>()) };
    }
}

/// As much as the kernel gives of it: `net.core.wmem_max`.
pub(crate) const LARGE_BUFFER: Option<usize> = Some(4 << 20);

/// A pair of stream sockets, with a send buffer of this size.
pub(crate) fn socket_pair(send_buffer: Option<usize>) -> (UnixStream, UnixStream) {
    let pair = UnixStream::pair().unwrap();
    if let Some(bytes) = send_buffer {
        for end in [&pair.0, &pair.1] {
            let bytes = bytes as libc::c_int;
            // SAFETY: the option is an int, which lives while the kernel reads it.
            let failed = unsafe {
                libc::setsockopt(
                    end.as_raw_fd(),
                    libc::SOL_SOCKET,
                    libc::SO_SNDBUF,
                    (&raw const bytes).cast(),
                    size_of_val(&bytes) as libc::socklen_t,
                )
            };
            assert_eq!(failed, 0, "SO_SNDBUF");
        }
    }
    pair
}

/// A pipe, (reader, writer), that holds this much.
pub(crate) fn pipe(bytes: usize) -> (PipeReader, PipeWriter) {
    let ends = std::io::pipe().unwrap();
    // SAFETY: takes numbers.
    let held = unsafe { libc::fcntl(ends.1.as_raw_fd(), libc::F_SETPIPE_SZ, bytes as libc::c_int) };
    assert!(
        held > 0,
        "F_SETPIPE_SZ: {}",
        std::io::Error::last_os_error()
    );
    ends
}

/// libc's semaphore.
pub(crate) struct Sem(UnsafeCell<libc::sem_t>);

// SAFETY: sem_t is for any number of threads.
unsafe impl Sync for Sem {}

impl Sem {
    /// In shared memory: `sem_init` has been told that processes share it.
    pub(crate) fn shared(permits: u32) -> Shared<Sem> {
        let sem = Sem::place();
        // SAFETY: in its final place, and nobody knows it yet.
        unsafe { libc::sem_init(sem.0.get(), 1, permits) };
        sem
    }

    /// For the threads of one process.
    pub(crate) fn private(permits: u32) -> Shared<Sem> {
        let sem = Sem::place();
        // SAFETY: as above.
        unsafe { libc::sem_init(sem.0.get(), 0, permits) };
        sem
    }

    fn place() -> Shared<Sem> {
        // SAFETY: a plain array of bytes, for which zeroes will do.
        Shared::new(Sem(unsafe { MaybeUninit::zeroed().assume_init() }))
    }

    #[inline]
    pub(crate) fn wait(&self) {
        // SAFETY: initialised by the constructors.
        while unsafe { libc::sem_wait(self.0.get()) } != 0 {}
    }

    #[inline]
    pub(crate) fn post(&self) {
        // SAFETY: as above.
        unsafe { libc::sem_post(self.0.get()) };
    }
}

/// A number behind libc's mutex, shared by processes; not robust.
pub(crate) struct PthreadMutex {
    mutex: UnsafeCell<libc::pthread_mutex_t>,
    value: UnsafeCell<u64>,
}

// SAFETY: pthread_mutex_t is for any number of threads, and the value is reached by its holder alone.
unsafe impl Sync for PthreadMutex {}

impl PthreadMutex {
    pub(crate) fn shared() -> Shared<PthreadMutex> {
        let shared = Shared::new(PthreadMutex {
            mutex: UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER),
            value: UnsafeCell::new(0),
        });
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: the attributes are initialised first; the mutex is in its final place, and nobody knows it yet.
        let failed = unsafe {
            libc::pthread_mutexattr_init(attributes.as_mut_ptr());
            libc::pthread_mutexattr_setpshared(
                attributes.as_mut_ptr(),
                libc::PTHREAD_PROCESS_SHARED,
            );
            libc::pthread_mutex_init(shared.mutex.get(), attributes.as_ptr())
        };
        assert_eq!(failed, 0, "no process-shared mutex");
        shared
    }

    #[inline]
    pub(crate) fn add_one(&self) {
        // SAFETY: initialised by the constructor; between the calls the value is ours.
        unsafe {
            libc::pthread_mutex_lock(self.mutex.get());
            *self.value.get() += 1;
            libc::pthread_mutex_unlock(self.mutex.get());
        }
    }
}

/// The kernel's own hand-off: one word, one call to wake, one to wait.
pub(crate) struct FutexSignal(Shared<AtomicU32>);

impl FutexSignal {
    pub(crate) fn new() -> FutexSignal {
        FutexSignal(Shared::new(AtomicU32::new(0)))
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the bare system call is what ours is compared with"
)]
impl Signal for FutexSignal {
    fn send(&self) {
        self.0.store(1, Release);
        // SAFETY: the word is mapped.
        unsafe { libc::syscall(libc::SYS_futex, self.0.as_ptr(), libc::FUTEX_WAKE, 1) };
    }

    fn receive(&self) {
        while self.0.swap(0, Acquire) == 0 {
            let (word, forever) = (self.0.as_ptr(), null_mut::<libc::timespec>());
            // SAFETY: the word is mapped, and there is no time to read.
            unsafe { libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAIT, 0, forever) };
        }
    }
}
