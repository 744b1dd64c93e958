//! Futex calls: wait on one word, wait on many, wake. See futex(2) and futex_waitv in the kernel's documentation.

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering::Relaxed};

use super::clock::Deadline;

/// How a sleep ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slept {
    /// Woken, or the word had changed already, or for no reason at all.
    Woken,
    /// The deadline passed.
    TimedOut,
    /// A signal handler ran.
    Interrupted,
}

fn outcome(returned: libc::c_long) -> Slept {
    if returned >= 0 {
        return Slept::Woken;
    }
    match std::io::Error::last_os_error().raw_os_error() {
        Some(libc::ETIMEDOUT) => Slept::TimedOut,
        Some(libc::EINTR) => Slept::Interrupted,
        // EAGAIN: the word has changed. Anything else leaves the caller to look again.
        _ => Slept::Woken,
    }
}

/// Sleeps while `word` holds `expected`, until `deadline`. `shared` words may be woken by other processes.
pub(crate) fn wait(word: &AtomicU32, expected: u32, shared: bool, deadline: Deadline) -> Slept {
    let operation = libc::FUTEX_WAIT_BITSET | if shared { 0 } else { libc::FUTEX_PRIVATE_FLAG };
    let until = deadline.timespec();
    let until = until
        .as_ref()
        .map_or(std::ptr::null(), |t| t as *const libc::timespec);
    // SAFETY: `word` is a live, aligned u32 and `until` is null or points to a timespec that outlives the call.
    outcome(unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            operation,
            expected,
            until,
            std::ptr::null::<u32>(),
            u32::MAX,
        )
    })
}

/// Wakes at most `count` sleepers on the word at `address`, and says how many it woke.
///
/// The memory may be gone by now (whoever took the lock may have freed it): then the kernel answers EFAULT, or wakes
/// somebody who sleeps on what lies there today. Every sleeper must therefore bear being woken for nothing.
pub(crate) fn wake(address: *const u32, shared: bool, count: u32) -> u32 {
    let operation = libc::FUTEX_WAKE | if shared { 0 } else { libc::FUTEX_PRIVATE_FLAG };
    let count = count.min(i32::MAX as u32);
    // SAFETY: FUTEX_WAKE uses the address as a key only; it never writes through it.
    let woken = unsafe { libc::syscall(libc::SYS_futex, address, operation, count) };
    u32::try_from(woken).unwrap_or(0)
}

/// One word of a [`wait_any`].
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct WaitWord {
    expected: u64,
    address: u64,
    flags: u32,
    _reserved: u32,
}

const FUTEX2_SIZE_U32: u32 = 0x02;
const FUTEX2_PRIVATE: u32 = 128;

/// The most words that [`wait_any`] takes.
pub(crate) const WAIT_ANY_MAX: usize = 128;

impl WaitWord {
    pub(crate) const EMPTY: WaitWord = WaitWord {
        expected: 0,
        address: 0,
        flags: 0,
        _reserved: 0,
    };

    pub(crate) fn new(word: &AtomicU32, expected: u32, shared: bool) -> WaitWord {
        let flags = FUTEX2_SIZE_U32 | if shared { 0 } else { FUTEX2_PRIVATE };
        WaitWord {
            expected: u64::from(expected),
            address: word.as_ptr().expose_provenance() as u64,
            flags,
            _reserved: 0,
        }
    }

    /// Wakes everybody who sleeps on the word.
    pub(crate) fn wake_all(&self) {
        let shared = self.flags & FUTEX2_PRIVATE == 0;
        wake(
            std::ptr::with_exposed_provenance(self.address as usize),
            shared,
            u32::MAX,
        );
    }
}

/// For one whom the `woken_by`th of `words` has woken: wakes all others who sleep there.
///
/// Several words may have woken it before it ran, and the kernel tells of one of them. Others may sleep on another of them and
/// not on that, for they fell asleep in between; so they are woken wherever a word has changed.
///
/// # Safety
/// As for [`wait_any`].
pub(crate) unsafe fn pass_on(words: &[WaitWord], woken_by: usize) {
    for (number, word) in words.iter().enumerate() {
        // SAFETY: the caller's word; whoever changes it does so atomically.
        let now = unsafe {
            AtomicU32::from_ptr(std::ptr::with_exposed_provenance_mut(word.address as usize))
        };
        if number == woken_by || u64::from(now.load(Relaxed)) != word.expected {
            word.wake_all();
        }
    }
}

/// What [`wait_any`] came to.
pub(crate) enum SleptAny {
    /// This word was woken.
    WokenBy(usize),
    /// As for a single word.
    Other(Slept),
    /// The kernel has no FUTEX_WAITV, or a sandbox forbids it: poll instead.
    Unavailable,
}

/// Sleeps until any of `words` is woken or does not hold what is expected of it (FUTEX_WAITV, Linux 5.16).
///
/// # Safety
/// Every word must have been made from memory that stays mapped during the call.
pub(crate) unsafe fn wait_any(words: &[WaitWord], deadline: Deadline) -> SleptAny {
    let until = deadline.timespec();
    let until = until
        .as_ref()
        .map_or(std::ptr::null(), |t| t as *const libc::timespec);
    // SAFETY: `words` is a slice of the kernel's own layout (struct futex_waitv); the caller vouches for the addresses.
    let returned = unsafe {
        libc::syscall(
            libc::SYS_futex_waitv,
            words.as_ptr(),
            words.len(),
            0u32,
            until,
            libc::CLOCK_MONOTONIC,
        )
    };
    if returned >= 0 {
        return SleptAny::WokenBy(returned as usize);
    }
    match std::io::Error::last_os_error().raw_os_error() {
        Some(libc::ENOSYS | libc::EPERM | libc::EINVAL) => {
            WAIT_ANY.store(ABSENT, Relaxed);
            SleptAny::Unavailable
        }
        _ => SleptAny::Other(outcome(returned)),
    }
}

const UNKNOWN: u8 = 0;
const PRESENT: u8 = 1;
const ABSENT: u8 = 2;
static WAIT_ANY: AtomicU8 = AtomicU8::new(UNKNOWN);

/// Whether [`wait_any`] can be used: asked of the kernel once. `ALLCORES_NO_WAITV=1` says no, for tests of the fallback.
pub(crate) fn can_wait_any() -> bool {
    match WAIT_ANY.load(Relaxed) {
        PRESENT => true,
        ABSENT => false,
        _ => {
            let forced = std::env::var_os("ALLCORES_NO_WAITV").is_some_and(|value| value != "0");
            // SAFETY: with no words the kernel answers EINVAL before it looks at any pointer.
            let answer = unsafe {
                libc::syscall(
                    libc::SYS_futex_waitv,
                    std::ptr::null::<WaitWord>(),
                    0,
                    0u32,
                    std::ptr::null::<u8>(),
                    0,
                )
            };
            let known =
                answer < 0 && std::io::Error::last_os_error().raw_os_error() == Some(libc::EINVAL);
            let present = known && !forced;
            WAIT_ANY.store(if present { PRESENT } else { ABSENT }, Relaxed);
            present
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Seen red: with a wake-up on the word alone that the kernel told of.
    #[test]
    fn a_wake_up_is_passed_on_for_every_word_that_has_changed() {
        let [unchanged, first, last] = [const { AtomicU32::new(0) }; 3];
        let words = [&unchanged, &first, &last].map(|word| WaitWord::new(word, 0, false));
        first.store(1, Relaxed);
        last.store(1, Relaxed);
        let soon = Deadline::after(Duration::from_secs(60));
        std::thread::scope(|scope| {
            // One that fell asleep when the last word had changed already.
            let other = scope.spawn(|| wait(&first, 1, false, soon));
            let nobody = scope.spawn(|| {
                wait(
                    &unchanged,
                    0,
                    false,
                    Deadline::after(Duration::from_millis(50)),
                )
            });
            while !other.is_finished() {
                // SAFETY: the words outlive the call.
                unsafe { pass_on(&words, 2) };
                std::thread::yield_now();
            }
            assert_eq!(other.join().unwrap(), Slept::Woken);
            assert_eq!(
                nobody.join().unwrap(),
                Slept::TimedOut,
                "a bell that has not rung"
            );
        });
    }
}
