//! The challenges that this process must not answer.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

use sha2::Digest as _;
use sha2::Sha256;

use super::AuthError;
use crate::sys::local::Local;

/// How many challenges are remembered after their handshakes.
const REMEMBERED: usize = 1024;

/// As much of a challenge as is remembered: peers choose the length of theirs.
type Print = [u8; 32];

/// The challenges of all handshakes in this process: its own that wait for an answer, and the last thousand of
/// anybody's that are over.
///
/// Whoever is asked by us can ask us the same thing, on another connection, and let us find the answer. So what this process asks it
/// never answers, unless both ends of the connection are its own ([`Within`]). That sees no further than this process: a peer that hands our challenge to *another* process with the
/// same key, and its answer back to us, looks like that process to us. The protocol has nothing against relays.
pub struct Challenges(Local<Known>);

/// What both ends of a connection within this process, and no others, have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Within {
    /// The kernel names this process as the one at the other end.
    Process,
    /// The addresses of the two ends, in order: both belong to the same connection.
    Line(SocketAddr, SocketAddr),
}

#[derive(Default)]
struct Known {
    out: BTreeMap<Print, Option<Within>>,
    over: BTreeSet<Print>,
    /// Those of `over`, in the order in which they came.
    order: VecDeque<Print>,
}

impl Known {
    fn remember(&mut self, print: Print) {
        if !self.over.insert(print) {
            return;
        }
        self.order.push_back(print);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.over.remove(&oldest);
        }
    }
}

fn print(body: &[u8]) -> Print {
    Sha256::digest(body).into()
}

impl Challenges {
    /// None so far.
    pub const fn new() -> Challenges {
        Challenges(Local::new(Known {
            out: BTreeMap::new(),
            over: BTreeSet::new(),
            order: VecDeque::new(),
        }))
    }

    /// Those of this process.
    pub(crate) fn of_this_process() -> &'static Challenges {
        static CHALLENGES: Challenges = Challenges::new();
        &CHALLENGES
    }

    pub(super) fn is_out(&self, body: &[u8], within: Option<Within>) {
        self.0.lock().out.insert(print(body), within);
    }

    pub(super) fn is_over(&self, body: &[u8]) {
        let mut known = self.0.lock();
        let print = print(body);
        known.out.remove(&print);
        known.remember(print);
    }

    /// Whether a peer's challenge may be answered, which is then done. `within` belongs to the connection it came by.
    pub(super) fn may_be_answered(
        &self,
        body: &[u8],
        within: Option<&Within>,
    ) -> Result<(), AuthError> {
        let mut known = self.0.lock();
        let print = print(body);
        match known.out.get(&print) {
            Some(Some(asked)) if Some(asked) == within => return Ok(()),
            Some(_) => return Err(AuthError::OwnChallenge),
            None => {}
        }
        if known.over.contains(&print) {
            return Err(AuthError::ReplayedChallenge);
        }
        known.remember(print);
        Ok(())
    }
}

impl Default for Challenges {
    fn default() -> Challenges {
        Challenges::new()
    }
}
