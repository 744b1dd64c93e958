//! One way to sleep, for every primitive: first on the word alone, and when that lasts, on the word *and* on every sign
//! that somebody died. Short waits pay nothing for the second; a death is learned a few milliseconds late at most.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::Scope;
use crate::registry;
use crate::sys::clock::Deadline;
use crate::sys::futex::{self, Slept, SleptAny, WaitWord};
use crate::sys::identity::{self, EndingsHeard};
#[cfg(debug_assertions)]
use crate::sys::known::Whether;

/// How long a sleeper listens to its word alone.
///
/// Longer than the scheduler's tick (4 ms where HZ is 250): a timer that is due before it has to be set in hardware at each
/// sleep and again at each wake-up, which in a virtual machine costs more than all the rest of a hand-off.
const UNARMED: Duration = Duration::from_millis(5);
/// How often it looks round where it cannot listen.
const POLL: Duration = Duration::from_millis(5);

/// Where the word lies, among those slept on, that moves when somebody joins, or a thread ends.
const MOVED: usize = 1;

/// Whether the main thread's signal handlers have a second half, which runs between two sleeps: see [`tell_of_signals`].
static TELLS: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// The word at whose wait this thread was told last: the wait that is taken up again there listens for deaths at once.
    static TOLD_AT: Cell<usize> = const { Cell::new(0) };
}

/// From now on the main thread's waits end as if interrupted where a signal may have come that the kernel did not tell of.
///
/// It tells of one that ends a sleep. One that comes as the sleep ends for another reason, or between two sleeps, runs its
/// handler all the same; but where that only leaves word for somebody else, as Python's do, it would stay there until the
/// wait is over. So a wait is never in its second sleep for longer than [`UNARMED`] without having come back once since the
/// first.
pub(crate) fn tell_of_signals() {
    TELLS.store(true, Relaxed);
}

/// Whether this thread is one that is told.
fn is_told() -> bool {
    TELLS.load(Relaxed) && identity::thread_number() == identity::main_number()
}

/// A wait in progress.
pub(crate) struct Sleeper {
    scope: Scope,
    deadline: Deadline,
    /// In private memory: whether the end of a thread matters. Always so in an arena.
    heeds_threads: bool,
    /// Until when the word alone is listened to; 0 before the first sleep.
    armed_from: Option<Deadline>,
    /// It was woken by a bell. The kernel then says nothing of a signal that came as well.
    signal_may_hide: bool,
    /// A sleep ended by a wake-up that came to nothing. The kernel says nothing of a signal then, either.
    woken: bool,
}

impl Sleeper {
    pub(crate) fn new(scope: Scope, deadline: Deadline) -> Sleeper {
        Sleeper {
            scope,
            deadline,
            heeds_threads: scope.is_shared(),
            armed_from: None,
            signal_may_hide: false,
            woken: false,
        }
    }

    /// A sleeper that also wakes up when a thread of this process ends.
    pub(crate) fn heeding_threads(scope: Scope, deadline: Deadline) -> Sleeper {
        Sleeper {
            heeds_threads: true,
            ..Sleeper::new(scope, deadline)
        }
    }

    /// Sleeps while `word` holds `expected`, and while `worthwhile` says that somebody alive may yet change it. That is
    /// asked after the signs of death have been noted and before the sleep, so that no death falls between.
    ///
    /// May say that it was interrupted when it was not: instead of the sleep after one that a bell ended. Who sends a signal
    /// and ends at once rings the bell before the receiver runs, and the sleep tells of the bell alone. To those who are
    /// [told](tell_of_signals) also where a time of our own has passed.
    pub(crate) fn sleep(
        &mut self,
        word: &AtomicU32,
        expected: u32,
        worthwhile: impl Fn() -> bool,
    ) -> Slept {
        let shared = self.scope.is_shared();
        if deaf() {
            return futex::wait(word, expected, shared, self.deadline);
        }
        if !self.heeds_threads {
            return self.sleep_alone(word, expected);
        }
        if std::mem::take(&mut self.signal_may_hide) {
            return Slept::Interrupted;
        }
        let first = self.armed_from.is_none();
        if first {
            self.scope.be_heard();
            if is_told() && TOLD_AT.take() == place(word) {
                self.armed_from = Some(Deadline::NOW);
                return self.sleep_armed(word, expected, &worthwhile);
            }
        }
        let armed_from = *self
            .armed_from
            .get_or_insert_with(|| Deadline::after(UNARMED));
        if first || !armed_from.has_passed() {
            let until = armed_from.min(self.deadline);
            let slept = futex::wait(word, expected, shared, until);
            self.woken = slept == Slept::Woken;
            return self.unless_mine(slept, word);
        }
        self.sleep_armed(word, expected, &worthwhile)
    }

    /// Nobody's end matters: the word alone.
    fn sleep_alone(&mut self, word: &AtomicU32, expected: u32) -> Slept {
        let shared = self.scope.is_shared();
        if std::mem::take(&mut self.woken) && is_told() {
            let slept = futex::wait(word, expected, shared, self.deadline.at_most(UNARMED));
            self.woken = slept == Slept::Woken;
            return self.unless_mine(slept, word);
        }
        let slept = futex::wait(word, expected, shared, self.deadline);
        self.woken = slept == Slept::Woken;
        slept
    }

    /// [`Sleeper::sleep`] while the low half of `word` holds `expected`.
    pub(crate) fn sleep_low(
        &mut self,
        word: &AtomicU64,
        expected: u32,
        worthwhile: impl Fn() -> bool,
    ) -> Slept {
        // SAFETY: the low half of a live u64 on a little-endian machine: aligned, and borrowed as long as `word` is. Only
        // the kernel reads through it.
        let low = unsafe { &*std::ptr::from_ref(word).cast::<AtomicU32>() };
        self.sleep(low, expected, worthwhile)
    }

    #[cold]
    #[inline(never)]
    fn sleep_armed(
        &mut self,
        word: &AtomicU32,
        expected: u32,
        worthwhile: &dyn Fn() -> bool,
    ) -> Slept {
        let mut words = [WaitWord::EMPTY; futex::WAIT_ANY_MAX];
        words[0] = WaitWord::new(word, expected, self.scope.is_shared());
        let endings;
        let watch = if self.scope.is_shared() {
            registry::watch(self.scope, &mut words[1..])
        } else {
            endings = EndingsHeard::new();
            let (word, seen) = endings.word();
            words[1] = WaitWord::new(word, seen, false);
            registry::Watch {
                words: 1,
                look_again: None,
            }
        };
        if !worthwhile() {
            return Slept::Woken;
        }
        let mut until = match watch.look_again {
            Some(soon) => self.deadline.at_most(soon),
            None => self.deadline,
        };
        if std::mem::take(&mut self.woken) && is_told() {
            until = until.at_most(UNARMED);
        }
        if futex::can_wait_any() {
            // SAFETY: `word` is borrowed for the whole call; the others are static, or lie in an arena, which is never
            // unmapped.
            match unsafe { futex::wait_any(&words[..=watch.words], until) } {
                SleptAny::WokenBy(0) => {
                    self.woken = true;
                    return Slept::Woken;
                }
                // Who moved this word has woken all that sleep on it. To pass it on would wake those who already sleep again
                // on its new value, and they would wake us: without end.
                SleptAny::WokenBy(MOVED) => {
                    self.signal_may_hide = true;
                    return Slept::Woken;
                }
                SleptAny::WokenBy(other) => {
                    self.signal_may_hide = true;
                    // The kernel wakes one sleeper on a bell: that one wakes all the others of its process.
                    // SAFETY: as above.
                    unsafe { futex::pass_on(&words[MOVED + 1..=watch.words], other - MOVED - 1) };
                    return Slept::Woken;
                }
                SleptAny::Other(slept) => {
                    // A word had changed before the sleep.
                    self.woken = slept == Slept::Woken;
                    return self.unless_mine(slept, word);
                }
                SleptAny::Unavailable => {}
            }
        }
        until = until.at_most(POLL);
        let slept = futex::wait(word, expected, self.scope.is_shared(), until);
        self.unless_mine(slept, word)
    }

    /// A time-out of our own making is no time-out of the caller's.
    fn unless_mine(&self, slept: Slept, word: &AtomicU32) -> Slept {
        if slept != Slept::TimedOut || self.deadline.has_passed() {
            return slept;
        }
        if is_told() {
            TOLD_AT.set(place(word));
            return Slept::Interrupted;
        }
        Slept::Woken
    }
}

fn place(word: &AtomicU32) -> usize {
    std::ptr::from_ref(word).addr()
}

/// For the control of the tests that kill: with `ALLCORES_TEST_DEAF=1` a debug build hears of no death, and they must see it.
pub(crate) fn deaf() -> bool {
    #[cfg(debug_assertions)]
    {
        // A forked child asks as well, perhaps, while another thread of its parent finds it out.
        static DEAF: Whether = Whether::new();
        DEAF.get_or(|| std::env::var_os("ALLCORES_TEST_DEAF").is_some_and(|value| value == "1"))
    }
    #[cfg(not(debug_assertions))]
    false
}
