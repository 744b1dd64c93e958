//! Condition: wait for a notification, in the order of arrival, with any lock around it.

use super::door::{AtomicU32, AtomicU64, Deadline, Scope, Sleeper, Slept, fence};
use super::spin::Spin;
use super::{Waited, const_fn};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};

/// The state of a slot, above the owner's number; a word of 0 is a free slot.
const STATE: u32 = 3 << 30;
/// Its owner is about to wait.
const CLAIMED: u32 = 1 << 30;
/// Its owner waits.
const WAITING: u32 = 2 << 30;
/// Its owner has been notified, and has not taken note of it.
const GRANTED: u32 = 3 << 30;

const fn owner(word: u32) -> u32 {
    word & !STATE
}
const fn state(word: u32) -> u32 {
    word & STATE
}

#[cfg(not(allcores_loom))]
const INLINE: usize = 30;
#[cfg(allcores_loom)]
const INLINE: usize = 2;
const PER_BLOCK: usize = 127;
/// More blocks than any condition has: some 130,000 waiters. Ends a walk along a chain that somebody has damaged.
const MOST_BLOCKS: usize = 1024;

/// `[31..30 state][29..0 owner]`, and the ticket, which decides who is next.
///
/// State and owner are one word, so that there is no instant in which a slot is taken by nobody in particular, and so that
/// whoever judges an owner dead and then acts on its slot cannot hit the next user of that slot.
#[repr(C)]
struct Slot {
    word: AtomicU32,
    ticket: AtomicU32,
}

impl Slot {
    const_fn! {
        const fn new() -> Slot {
            Slot { word: AtomicU32::new(0), ticket: AtomicU32::new(0) }
        }
    }

    fn change(&self, from: u32, to: u32) -> bool {
        self.word
            .compare_exchange(from, to, AcqRel, Relaxed)
            .is_ok()
    }
}

/// Slots beyond those in the condition itself; zeroed memory is a block of free slots.
#[repr(C)]
struct Block {
    more: AtomicU64,
    slots: [Slot; PER_BLOCK],
}

/// A hint, a counter, a link, and a table of waiters; each waiter sleeps on the word of its own slot.
///
/// The user's lock, of whatever kind, is held around [`enlist`](Condition::enlist), [`finish`](Condition::finish) and
/// [`notify`](Condition::notify). Nothing here relies on it for memory safety: a lock that lies costs spurious wake-ups or
/// a notification that came too early, never more.
#[repr(C)]
pub struct Condition {
    /// At least the number of slots in use whose owner has not begun to leave: 0 means that nobody is to be notified.
    waiting: AtomicU32,
    next_ticket: AtomicU32,
    more: AtomicU64,
    slots: [Slot; INLINE],
}

#[cfg(not(allcores_loom))]
const _: () = assert!(size_of::<Condition>() == 256 && size_of::<Block>() == 1024);

/// No room for another waiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no memory for another waiter: all {waiting} places of this condition are taken and it cannot grow; let some finish, or enlarge the arena"
)]
pub struct NoRoom {
    /// How many wait already.
    pub waiting: u32,
}

/// A place in the queue, from [`Condition::enlist`] to [`Condition::finish`] or [`Condition::abandon`].
#[derive(Debug)]
#[must_use = "a waiter that is not finished is notified in vain"]
pub struct Ticket {
    slot: usize,
    number: u32,
    me: u32,
}

impl Condition {
    const_fn! {
        /// A condition that nobody waits for.
        pub const fn new() -> Condition {
            Condition {
                waiting: AtomicU32::new(0),
                next_ticket: AtomicU32::new(0),
                more: AtomicU64::new(0),
                slots: free_slots(),
            }
        }
    }

    /// Joins the queue. The user's lock is held, and released only after this.
    pub fn enlist(&self, scope: Scope) -> Result<Ticket, NoRoom> {
        let me = scope.me();
        // Before the slot is taken: the hint may be too high, never too low.
        let waiting = self.waiting.fetch_add(1, Relaxed);
        let claimed = self.claim(scope, me).or_else(|| {
            self.bury_the_dead(scope);
            self.claim(scope, me)
        });
        let claimed = claimed.or_else(|| {
            self.grow(scope)?;
            self.claim(scope, me)
        });
        let Some((index, slot)) = claimed else {
            self.one_less();
            return Err(NoRoom { waiting });
        };
        let number = self.next_ticket.fetch_add(1, Relaxed);
        slot.ticket.store(number, Relaxed);
        slot.word.store(WAITING | me, Release);
        Ok(Ticket {
            slot: index,
            number,
            me,
        })
    }

    /// Sleeps until notified, or until `deadline`. The user's lock has been released. May be called again with the same
    /// ticket after any outcome; [`Waited::Yes`] may be spurious in a forked child only.
    pub fn sleep(&self, scope: Scope, ticket: &Ticket, deadline: Deadline) -> Waited {
        let Some(slot) = self.slot_of(scope, ticket) else {
            return Waited::Yes;
        };
        let mut spin = Spin::new(scope);
        let mut sleeper = Sleeper::new(scope, deadline);
        loop {
            if slot.word.load(Acquire) != WAITING | ticket.me {
                return Waited::Yes;
            }
            if deadline.is_now() {
                return Waited::TimedOut;
            }
            if spin.once_more() {
                continue;
            }
            match sleeper.sleep(&slot.word, WAITING | ticket.me, || !self.has_orphan(scope)) {
                // Perhaps for a death. Handed on to whoever is next, who may well be us.
                Slept::Woken => self.hand_on_orphans(scope),
                Slept::TimedOut => return Waited::TimedOut,
                Slept::Interrupted => return Waited::Interrupted,
            }
        }
    }

    /// Leaves the queue and says whether there was a notification, which counts even if it came after the deadline. The
    /// user's lock is held again.
    pub fn finish(&self, scope: Scope, ticket: Ticket) -> bool {
        let Some(slot) = self.slot_of(scope, &ticket) else {
            return false;
        };
        self.one_less();
        state(slot.word.swap(0, AcqRel)) == GRANTED
    }

    /// Leaves the queue without making use of a notification: one that came is handed on to the next waiter. For a wait
    /// that ends in an error; works with and without the user's lock.
    pub fn abandon(&self, scope: Scope, ticket: Ticket) {
        let Some(slot) = self.slot_of(scope, &ticket) else {
            return;
        };
        self.one_less();
        if !slot.change(WAITING | ticket.me, 0) {
            // Freed only after it has been handed on: if we are killed between, it is handed on twice, not lost.
            self.grant(scope, 1);
            slot.word.store(0, Release);
        }
    }

    /// Notifies the `n` that have waited longest, and says how many that were. The user's lock is held.
    #[inline]
    pub fn notify(&self, scope: Scope, n: u32) -> u32 {
        // Relaxed: the user's lock orders it.
        match self.waiting.load(Relaxed) {
            0 => 0,
            waiting => self.notify_slow(scope, n, waiting),
        }
    }

    /// Notifies all who wait, and says how many that were. The user's lock is held.
    #[inline]
    pub fn notify_all(&self, scope: Scope) -> u32 {
        self.notify(scope, u32::MAX)
    }

    /// How many wait, those that were killed while waiting included until a notification has found nobody.
    pub fn waiting(&self) -> u32 {
        self.waiting.load(Relaxed)
    }

    /// Whether it has more waiters' places than its own: parts that are freed with it.
    #[cfg(not(allcores_loom))]
    pub(crate) fn has_overflow(&self) -> bool {
        self.more.load(Relaxed) != 0
    }

    /// Forgets all waiters; for a forked child that knows nobody else uses it.
    pub fn reset(&self, scope: Scope) {
        for slot in self.all(scope) {
            slot.word.store(0, Relaxed);
        }
        self.waiting.store(0, Relaxed);
    }

    /// Frees the memory that many waiters have taken, in private memory; in an arena it goes with the cell.
    ///
    /// # Safety
    /// Nobody may use the condition any more, except to drop it.
    pub unsafe fn dispose(&self, scope: Scope) {
        let mut link = self.more.swap(0, Acquire);
        while link != 0
            && let Some(block) = block_at(scope, link)
        {
            let next = block.more.load(Acquire);
            // SAFETY: `grow` allocated it with this size, and the caller promises that nobody uses it.
            unsafe { scope.free_block(link, size_of::<Block>()) };
            link = next;
        }
    }

    #[cold]
    fn notify_slow(&self, scope: Scope, n: u32, waiting: u32) -> u32 {
        self.hand_on_orphans(scope);
        let granted = if n >= waiting {
            self.grant_all(scope)
        } else {
            self.grant(scope, n)
        };
        if granted == 0 && n > 0 {
            self.bury_the_dead(scope);
            if self.all(scope).all(|slot| slot.word.load(Relaxed) == 0) {
                // Somebody was killed and cannot count itself out. Whoever counts itself out now makes this fail.
                let _ = self.waiting.compare_exchange(waiting, 0, Relaxed, Relaxed);
            }
        }
        granted
    }

    /// Grants to the `n` oldest that wait and live.
    fn grant(&self, scope: Scope, n: u32) -> u32 {
        let mut granted = 0;
        while granted < n {
            let mut oldest: Option<(&Slot, u32, u32)> = None;
            for slot in self.all(scope) {
                let word = slot.word.load(Acquire);
                let ticket = slot.ticket.load(Relaxed);
                // Tickets wrap around: the older one is the one from which it is a short way to the other.
                if state(word) == WAITING
                    && oldest.is_none_or(|(_, _, best)| (ticket.wrapping_sub(best) as i32) < 0)
                {
                    oldest = Some((slot, word, ticket));
                }
            }
            let Some((slot, word, _)) = oldest else { break };
            granted += u32::from(grant_slot(scope, slot, word));
        }
        granted
    }

    /// Grants to all that wait and live: one pass, the order does not matter.
    fn grant_all(&self, scope: Scope) -> u32 {
        let mut granted = 0;
        for slot in self.all(scope) {
            let word = slot.word.load(Acquire);
            if state(word) == WAITING {
                granted += u32::from(grant_slot(scope, slot, word));
            }
        }
        granted
    }

    fn has_orphan(&self, scope: Scope) -> bool {
        // The death that has been heard of before the look for grants; see `grant_slot`.
        fence(SeqCst);
        self.all(scope)
            .any(|slot| is_orphan(scope, slot.word.load(Acquire)))
    }

    /// Step "hand on": whoever was notified and died before it took note of that gives way to the next.
    fn hand_on_orphans(&self, scope: Scope) {
        for slot in self.all(scope) {
            let word = slot.word.load(Acquire);
            // It becomes ours first: if we are killed as well, the next one finds it again. At worst somebody is notified
            // twice over.
            if is_orphan(scope, word) && slot.change(word, GRANTED | scope.me()) {
                self.grant(scope, 1);
                slot.word.store(0, Release);
            }
        }
    }

    /// Frees the slots of the dead.
    #[cold]
    fn bury_the_dead(&self, scope: Scope) {
        self.hand_on_orphans(scope);
        for slot in self.all(scope) {
            let word = slot.word.load(Acquire);
            if word != 0 && state(word) != GRANTED && scope.is_gone(owner(word)) {
                slot.change(word, 0);
            }
        }
    }

    /// Takes a free slot.
    fn claim(&self, scope: Scope, me: u32) -> Option<(usize, &Slot)> {
        self.all(scope)
            .enumerate()
            .find(|(_, slot)| slot.word.load(Relaxed) == 0 && slot.change(0, CLAIMED | me))
    }

    /// Puts another block at the end of the chain.
    #[cold]
    fn grow(&self, scope: Scope) -> Option<()> {
        if self.blocks(scope).count() >= MOST_BLOCKS {
            return None;
        }
        let link = scope.alloc_block(std::ptr::from_ref(self).cast(), size_of::<Block>())?;
        let mut end = &self.more;
        while let Err(next) = end.compare_exchange(0, link, AcqRel, Acquire) {
            end = &block_at(scope, next)?.more;
        }
        Some(())
    }

    /// Counts this waiter out. Before its slot is freed: one that finds no slot in use may then take the hint for wrong.
    fn one_less(&self) {
        let _ = self
            .waiting
            .fetch_update(Relaxed, Relaxed, |waiting| waiting.checked_sub(1));
    }

    /// The slot of a ticket, if it is the caller's still: in a child forked during the wait it is not.
    fn slot_of(&self, scope: Scope, ticket: &Ticket) -> Option<&Slot> {
        if scope.known() != ticket.me {
            return None;
        }
        let slot = match ticket.slot.checked_sub(INLINE) {
            None => &self.slots[ticket.slot],
            Some(beyond) => &self.blocks(scope).nth(beyond / PER_BLOCK)?.slots[beyond % PER_BLOCK],
        };
        let mine = owner(slot.word.load(Relaxed)) == ticket.me
            && slot.ticket.load(Relaxed) == ticket.number;
        mine.then_some(slot)
    }

    fn all(&self, scope: Scope) -> impl Iterator<Item = &Slot> {
        let beyond = self.blocks(scope).flat_map(|block| &block.slots);
        self.slots.iter().chain(beyond)
    }

    fn blocks(&self, scope: Scope) -> impl Iterator<Item = &Block> {
        let mut link = self.more.load(Acquire);
        std::iter::from_fn(move || {
            let block = (link != 0).then(|| block_at(scope, link))??;
            link = block.more.load(Acquire);
            Some(block)
        })
        .take(MOST_BLOCKS)
    }
}

impl Default for Condition {
    fn default() -> Condition {
        Condition::new()
    }
}

#[cfg(not(allcores_loom))]
const fn free_slots() -> [Slot; INLINE] {
    [const { Slot::new() }; INLINE]
}
#[cfg(allcores_loom)]
fn free_slots() -> [Slot; INLINE] {
    std::array::from_fn(|_| Slot::new())
}

fn block_at<'a>(scope: Scope, link: u64) -> Option<&'a Block> {
    let block = scope
        .resolve_block(link, size_of::<Block>())?
        .cast::<Block>();
    // An arena may hold any number where a link should be.
    if !block.is_aligned() {
        return None;
    }
    // SAFETY: in private memory the link came from `alloc_block` and lives until `dispose`; in an arena `resolve_block` has
    // checked its bounds, arenas are never unmapped, and a Block is nothing but atomics, for which any bits will do.
    Some(unsafe { &*block })
}

fn is_orphan(scope: Scope, word: u32) -> bool {
    state(word) == GRANTED && scope.is_gone(owner(word))
}

/// Whether the owner of this slot was notified; it may have left, or be dead.
fn grant_slot(scope: Scope, slot: &Slot, word: u32) -> bool {
    let granted = GRANTED | owner(word);
    if !slot.change(word, granted) {
        return false;
    }
    // Judged after the grant: one that dies from now on is heard to die when the grant is there to be found. The fence, and
    // the one in `has_orphan`: either we see the death, or whoever hears of it sees the grant.
    fence(SeqCst);
    if scope.is_gone(owner(word)) {
        return !slot.change(granted, 0);
    }
    scope.wake(&raw const slot.word, 1);
    true
}
