//! Barrier: a number of parties that go on only when all have come.

use super::const_fn;
use super::door::{AtomicU32, AtomicU64, Deadline, Scope, Sleeper, Slept};
use super::spin::Spin;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};

const HISTORY: u64 = (1 << 16) - 1;
const ARRIVAL: u64 = 1 << 16;
const BROKEN: u64 = 1 << 32;
const GENERATION: u64 = 1 << 33;

const fn arrived(state: u64) -> u32 {
    (state / ARRIVAL) as u16 as u32
}
const fn is_broken(state: u64) -> bool {
    state & BROKEN != 0
}
const fn generation(state: u64) -> u32 {
    (state / GENERATION) as u32
}
/// The state with which the next generation begins.
const fn next(state: u64, by_reset: bool) -> u64 {
    let begun = (state & !(GENERATION - 1)).wrapping_add(GENERATION);
    begun | (state << 1 | by_reset as u64) & HISTORY
}
/// How this generation ended, if it has.
const fn end_of(which: u32, state: u64) -> Option<BarrierWaited> {
    let ago = generation(state).wrapping_sub(which) % (1 << 31);
    if ago == 0 {
        return if is_broken(state) {
            Some(BarrierWaited::Broken)
        } else {
            None
        };
    }
    // What lies further back than the history is taken to have passed. One who wakes up 17 generations late has at least as
    // many other threads at work as there are parties: a usual thing with small barriers, where resets are not.
    let broken = ago <= 16 && state >> (ago - 1) & 1 != 0;
    Some(if broken {
        BarrierWaited::Broken
    } else {
        BarrierWaited::Passed
    })
}

/// Somebody sleeps on the bell, or did: whoever rings it must wake all.
const SLEEPERS: u32 = 1 << 31;

/// `[63..33 generation][32 BROKEN][31..16 arrived][15..0 history]`, a bell and the number of parties.
///
/// Bit k of the history says that the generation k + 1 ago ended by a reset. All of that changes at once, so that one who
/// wakes up late still knows how its own generation ended. The bell moves *after* the state, whenever a generation ends, is
/// broken or loses a party again; sleepers read it *before* they read the state.
///
/// `who` holds one word a party, `[63..32 generation][31..0 owner]`, and lies elsewhere, as it has no fixed size. An arrival
/// takes an entry *before* it is counted, so that there is no arrival that nobody is known to have made; the entry's place
/// is the party's index. Entries of past generations are free, hence nothing is ever cleared. In private memory, where
/// nobody is killed, `who` may be empty: then the order of arrival is the index.
#[repr(C)]
pub struct Barrier {
    state: AtomicU64,
    bell: AtomicU32,
    parties: AtomicU32,
}

/// The barrier is broken, or was when this party was in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the barrier is broken: a party timed out, failed or died, or somebody called abort or reset"
)]
pub struct Broken;

/// A party that has come: proof for [`Barrier::sleep`], [`Barrier::complete`] and [`Barrier::retract`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "an arrival that is the last must complete the barrier"]
pub struct Arrival {
    generation: u32,
    /// From 0 to parties - 1, different for all parties of one generation.
    pub index: u32,
    /// Whether all others were there: the caller runs the action, and then completes (or aborts) the barrier.
    pub last: bool,
}

/// How an attempt to arrive ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Arrived {
    /// Arrived.
    Yes(Arrival),
    /// The barrier is broken.
    Broken,
    /// The deadline passed before there was a place. Nothing is broken by that: this party was never in.
    TimedOut,
    /// A signal handler ran before there was a place. Call again with the same deadline to go on.
    Interrupted,
}

/// How a wait for the other parties ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum BarrierWaited {
    /// All have come.
    Passed,
    /// The barrier broke.
    Broken,
    /// The deadline passed, and that has broken the barrier for all.
    TimedOut,
    /// A signal handler ran. Call again with the same deadline to go on, or [`Barrier::retract`].
    Interrupted,
}

/// An attempt to take an entry of `who`.
enum Entry {
    Taken(u32),
    /// All are taken, though not all arrivals have been counted yet.
    Full,
    /// The generation is over.
    Stale,
}

const fn entry(generation: u32, owner: u32) -> u64 {
    (generation as u64) << 32 | owner as u64
}

impl Barrier {
    /// The most parties of any barrier.
    pub const MAX: u32 = u16::MAX as u32;

    const_fn! {
        /// A barrier for `parties`: at least 1, at most [`Barrier::MAX`].
        pub const fn new(parties: u32) -> Barrier {
            assert!(parties != 0 && parties <= Barrier::MAX, "a barrier has 1 to 65,535 parties");
            Barrier {
                state: AtomicU64::new(0),
                bell: AtomicU32::new(0),
                parties: AtomicU32::new(parties),
            }
        }
    }

    /// Arrives. Waits only where there are more threads than parties and the generation before is not over.
    pub fn arrive(&self, scope: Scope, who: &[AtomicU64], deadline: Deadline) -> Arrived {
        let me = scope.me();
        let mut sleeper = Sleeper::new(scope, deadline);
        let mut taken: Option<(u32, u32)> = None;
        loop {
            let bell = self.bell.load(Acquire);
            let state = self.state.load(Acquire);
            let now = generation(state);
            if let Some((when, index)) = taken
                && (when != now || is_broken(state))
            {
                give_back(who, index, when, me);
                taken = None;
            }
            if is_broken(state) {
                return Arrived::Broken;
            }
            if arrived(state) < self.parties() {
                let index = match taken {
                    _ if who.is_empty() => Some(arrived(state)),
                    Some((_, index)) => Some(index),
                    None => match self.take_entry(who, state, me) {
                        Entry::Taken(index) => {
                            taken = Some((now, index));
                            Some(index)
                        }
                        Entry::Full => None,
                        Entry::Stale => continue,
                    },
                };
                if let Some(index) = index {
                    if self
                        .state
                        .compare_exchange(state, state + ARRIVAL, AcqRel, Relaxed)
                        .is_err()
                    {
                        continue;
                    }
                    let last = arrived(state) + 1 == self.parties();
                    if last && self.break_for_the_dead(scope, who, now) {
                        return Arrived::Broken;
                    }
                    return Arrived::Yes(Arrival {
                        generation: now,
                        index,
                        last,
                    });
                }
            }
            // Surplus: all places of this generation are taken. The bell rings when it ends, or when a place is given back.
            if deadline.is_now() {
                if self.break_for_the_dead(scope, who, now) {
                    continue;
                }
                return Arrived::TimedOut;
            }
            match self.listen(&mut sleeper, scope, who, now, bell) {
                Slept::Woken => {}
                Slept::TimedOut => return Arrived::TimedOut,
                Slept::Interrupted => return Arrived::Interrupted,
            }
        }
    }

    /// Waits for the other parties; for any arrival but the last. When `deadline` passes the barrier breaks, unless all have
    /// come and only the action is awaited.
    pub fn sleep(
        &self,
        scope: Scope,
        who: &[AtomicU64],
        arrival: &Arrival,
        deadline: Deadline,
    ) -> BarrierWaited {
        let mut spin = Spin::new(scope);
        let mut sleeper = Sleeper::new(scope, deadline);
        let mut timed_out = deadline.is_now();
        loop {
            let bell = self.bell.load(Acquire);
            let state = self.state.load(Acquire);
            if let Some(end) = end_of(arrival.generation, state) {
                return end;
            }
            if timed_out && arrived(state) < self.parties() {
                if self.change(scope, state, state | BROKEN) {
                    return BarrierWaited::TimedOut;
                }
                continue;
            }
            if spin.once_more() {
                continue;
            }
            if timed_out {
                sleeper = Sleeper::new(scope, Deadline::NEVER);
            }
            match self.listen(&mut sleeper, scope, who, arrival.generation, bell) {
                Slept::Woken => {}
                Slept::TimedOut => timed_out = true,
                Slept::Interrupted => return BarrierWaited::Interrupted,
            }
        }
    }

    /// Lets all pass; for the last arrival, after the action.
    pub fn complete(&self, scope: Scope, arrival: Arrival) -> Result<(), Broken> {
        loop {
            let state = self.state.load(Acquire);
            if generation(state) != arrival.generation || is_broken(state) {
                return Err(Broken);
            }
            if self.change(scope, state, next(state, false)) {
                return Ok(());
            }
        }
    }

    /// Breaks the barrier for all who are in it and all who come, until it is reset.
    pub fn abort(&self, scope: Scope) {
        scope.be_heard();
        loop {
            let state = self.state.load(Acquire);
            if is_broken(state) || self.change(scope, state, state | BROKEN) {
                return;
            }
        }
    }

    /// Makes the barrier whole and empty. Those who wait find it broken.
    pub fn reset(&self, scope: Scope) {
        scope.be_heard();
        loop {
            let state = self.state.load(Acquire);
            let is_new = arrived(state) == 0 && !is_broken(state);
            if is_new || self.change(scope, state, next(state, true)) {
                return;
            }
        }
    }

    /// Undoes an arrival without breaking the barrier, and says whether that was possible: not so once all have come, or
    /// the generation is over.
    pub fn retract(&self, scope: Scope, who: &[AtomicU64], arrival: Arrival) -> bool {
        loop {
            let state = self.state.load(Acquire);
            if end_of(arrival.generation, state).is_some() || arrived(state) >= self.parties() {
                return false;
            }
            // Counted out before the entry is given back: there are never more arrivals than entries.
            if self
                .state
                .compare_exchange(state, state - ARRIVAL, AcqRel, Relaxed)
                .is_ok()
            {
                give_back(who, arrival.index, arrival.generation, scope.known());
                self.ring(scope);
                return true;
            }
        }
    }

    /// How many parties wait: none in a broken barrier.
    pub fn n_waiting(&self) -> u32 {
        match self.state.load(Relaxed) {
            state if is_broken(state) => 0,
            state => arrived(state),
        }
    }

    /// Whether it is broken.
    pub fn broken(&self) -> bool {
        is_broken(self.state.load(Relaxed))
    }

    /// How many parties must come.
    pub fn parties(&self) -> u32 {
        self.parties.load(Relaxed)
    }

    /// A change that somebody may be asleep for.
    fn change(&self, scope: Scope, from: u64, to: u64) -> bool {
        let changed = self
            .state
            .compare_exchange(from, to, AcqRel, Relaxed)
            .is_ok();
        if changed {
            self.ring(scope);
        }
        changed
    }

    fn ring(&self, scope: Scope) {
        let mut bell = self.bell.load(Relaxed);
        while let Err(now) =
            self.bell
                .compare_exchange_weak(bell, bell.wrapping_add(1) & !SLEEPERS, AcqRel, Relaxed)
        {
            bell = now;
        }
        if bell & SLEEPERS != 0 {
            scope.wake(&raw const self.bell, u32::MAX);
        }
    }

    /// Sleeps until the bell is no longer what it was before the state was looked at.
    fn listen(
        &self,
        sleeper: &mut Sleeper,
        scope: Scope,
        who: &[AtomicU64],
        now: u32,
        bell: u32,
    ) -> Slept {
        if bell & SLEEPERS == 0
            && self
                .bell
                .compare_exchange(bell, bell | SLEEPERS, Relaxed, Relaxed)
                .is_err()
        {
            return Slept::Woken;
        }
        let slept = sleeper.sleep(&self.bell, bell | SLEEPERS, || {
            // The state as well: its changer may have been killed before it rang.
            end_of(now, self.state.load(Acquire)).is_none() && !has_dead(scope, who, now)
        });
        if slept == Slept::Woken {
            self.break_for_the_dead(scope, who, now);
        }
        slept
    }

    /// Breaks this generation if one of its parties is dead.
    fn break_for_the_dead(&self, scope: Scope, who: &[AtomicU64], which: u32) -> bool {
        if !has_dead(scope, who, which) {
            return false;
        }
        loop {
            let state = self.state.load(Acquire);
            if end_of(which, state).is_some() || self.change(scope, state, state | BROKEN) {
                return true;
            }
        }
    }

    fn take_entry(&self, who: &[AtomicU64], state: u64, me: u32) -> Entry {
        let now = generation(state);
        let first = arrived(state) as usize;
        for step in 0..who.len() {
            let index = (first + step) % who.len();
            let mut seen = who[index].load(Acquire);
            while (seen >> 32) as u32 != now || seen as u32 == 0 {
                // The generation has not moved since `seen` was written, hence that is not of a later one.
                if generation(self.state.load(Acquire)) != now {
                    return Entry::Stale;
                }
                match who[index].compare_exchange(seen, entry(now, me), AcqRel, Acquire) {
                    Ok(_) => return Entry::Taken(index as u32),
                    Err(theirs) => seen = theirs,
                }
            }
        }
        Entry::Full
    }
}

/// Gives an entry back, unless a later generation has taken it.
fn give_back(who: &[AtomicU64], index: u32, which: u32, me: u32) {
    if let Some(place) = who.get(index as usize) {
        let _ = place.compare_exchange(entry(which, me), 0, AcqRel, Relaxed);
    }
}

fn has_dead(scope: Scope, who: &[AtomicU64], which: u32) -> bool {
    who.iter().any(|place| {
        let seen = place.load(Acquire);
        let owner = seen as u32;
        (seen >> 32) as u32 == which && owner != 0 && scope.is_gone(owner)
    })
}
