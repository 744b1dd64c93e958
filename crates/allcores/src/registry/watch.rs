//! What a sleeper listens to: the bells of all who live.

use std::sync::atomic::Ordering::*;
use std::time::Duration;

use super::judge::is_over;
use super::membership;
use crate::shm::arena;
use crate::shm::layout::{LOW_SLOTS, SLOTS};
use crate::sync::Scope;
use crate::sys::futex::WaitWord;
use crate::sys::robust::{Sign, rings, sign};

/// How soon to look again at one who is dying: its row rang, and a sibling thread has yet to reach its end.
const SOON: Duration = Duration::from_millis(1);
/// How soon to look again where there are no bells.
const POLL: Duration = Duration::from_millis(5);

/// The signs of death that a sleeper listens to.
pub(crate) struct Watch {
    /// How many words were written.
    pub(crate) words: usize,
    /// How soon to look again, where listening is not enough.
    pub(crate) look_again: Option<Duration>,
}

/// Writes down, in `words`, all that must stay as it is for nobody to have died. May be called in a signal handler.
pub(crate) fn watch(scope: Scope, words: &mut [WaitWord]) -> Watch {
    let arena = arena::at(scope);
    let header = arena.header();
    // First: whoever joins after this moves the word.
    words[0] = WaitWord::new(&header.members, header.members.load(Acquire), true);
    let mut watch = Watch {
        words: 1,
        look_again: None,
    };
    membership::take_free_row_if_idle(arena);
    let high = (header.high.load(Acquire) as usize).min(SLOTS);
    // The life word alone would not tell: nobody holds it while a row waits for its next holder.
    let silent = (LOW_SLOTS..high).any(|slot| {
        let participant = arena.participant(slot);
        let incarnation = participant.incarnation.load(Acquire);
        incarnation != 0 && !is_over(arena, participant, incarnation)
    });
    let Some(me) = membership::slot(arena).filter(|me| *me < LOW_SLOTS && !silent) else {
        // Nobody rings for me, or there are some who do not ring.
        watch.look_again = Some(POLL);
        return watch;
    };
    for slot in (0..high.min(LOW_SLOTS)).filter(|slot| *slot != me) {
        let bell = arena.bell(slot, me);
        let word = bell.word().load(Acquire);
        match sign(word) {
            Sign::Held if rings(word) => {
                words[watch.words] = WaitWord::new(bell.word(), word, true);
                watch.words += 1;
            }
            // Dead, or dying, or handing its row over, or taking it over and killed before the bell was told to ring.
            Sign::Rung | Sign::Free | Sign::Held => {
                let participant = arena.participant(slot);
                let incarnation = participant.incarnation.load(Acquire);
                if incarnation != 0 && !is_over(arena, participant, incarnation) {
                    let soon = if sign(word) == Sign::Rung { SOON } else { POLL };
                    watch.look_again = Some(watch.look_again.map_or(soon, |known| known.min(soon)));
                }
            }
        }
    }
    watch
}
