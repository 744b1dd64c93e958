//! The other party: a thread, or a forked process.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering::*};
use std::thread::JoinHandle;

use super::Memory;

/// Something that goes on elsewhere.
pub(crate) enum Going {
    Thread(JoinHandle<u8>, Arc<AtomicI32>, Memory),
    Process(i32),
}

impl Going {
    pub(crate) fn thread(memory: Memory, work: impl FnOnce() -> u8 + Send + 'static) -> Going {
        let native = Arc::new(AtomicI32::new(0));
        let thread = std::thread::spawn({
            let native = native.clone();
            move || {
                // SAFETY: takes nothing.
                native.store(unsafe { libc::gettid() }, SeqCst);
                work()
            }
        });
        Going::Thread(thread, native, memory)
    }

    pub(crate) fn process(work: impl FnOnce() -> u8) -> Going {
        // SAFETY: the child uses what the library promises to work in a child of many threads, and glibc's own.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
        if pid == 0 {
            let answer = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            // SAFETY: ends the child; what belongs to the parent is not torn down.
            unsafe { libc::_exit(i32::from(answer.unwrap_or(255))) };
        }
        Going::Process(pid)
    }

    /// Waits until it sleeps in a wait, and not on its way there: where this process, or libc, keeps its own books, another test
    /// may be in the way.
    pub(crate) fn asleep(&self) {
        let (path, memory) = match self {
            Going::Thread(_, native, memory) => {
                while native.load(SeqCst) == 0 {
                    std::thread::yield_now();
                }
                let path = format!("/proc/self/task/{}/syscall", native.load(SeqCst));
                (path, *memory)
            }
            Going::Process(pid) => (format!("/proc/{pid}/syscall"), Memory::Processes),
        };
        let private = match memory {
            Memory::Private => libc::FUTEX_PRIVATE_FLAG,
            _ => 0,
        };
        let operation = format!("{:#x}", libc::FUTEX_WAIT_BITSET | private);
        loop {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let mut words = text.split(' ');
            match words.next().and_then(|word| word.parse::<i64>().ok()) {
                Some(libc::SYS_futex_waitv) => return,
                Some(libc::SYS_futex) if words.nth(1) == Some(&operation) => return,
                _ => std::thread::yield_now(),
            }
        }
    }

    /// Waits for its end.
    pub(crate) fn answer(self) -> u8 {
        match self {
            Going::Thread(thread, ..) => thread.join().expect("the other thread panicked"),
            Going::Process(pid) => {
                let mut status = 0;
                // SAFETY: our own child, and a valid place.
                while unsafe { libc::waitpid(pid, &mut status, 0) } != pid {}
                assert!(
                    libc::WIFEXITED(status) && libc::WEXITSTATUS(status) != 255,
                    "the other process ended with {status:#x}"
                );
                libc::WEXITSTATUS(status) as u8
            }
        }
    }
}
