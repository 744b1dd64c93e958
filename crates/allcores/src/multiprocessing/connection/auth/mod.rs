//! The mutual authentication of CPython's `multiprocessing.connection`, as a pure state machine: frames in, frames out, no
//! I/O and no clock.
//!
//! Who accepts challenges first; then the roles swap. Each line is the payload of one frame of at most 256 bytes:
//!
//! | challenger | answerer |
//! |---|---|
//! | `#CHALLENGE#` and a body: `{sha256}` and 40 random bytes | |
//! | | `{sha256}` and HMAC-SHA256(key, body) |
//! | `#WELCOME#`, or `#FAILURE#` and the end | |
//!
//! Old peers (CPython 3.11 and before) know HMAC-MD5 only. Their challenge is a body of 20 bytes, answered by 16 raw bytes; they answer
//! ours with 16 raw bytes over the whole body.
//!
//! Hidden from the documentation and without promise of stability.

mod challenges;
mod digest;

use std::fmt;
use std::sync::Arc;

pub use challenges::{Challenges, Within};
pub use digest::Digest;

/// The longest frame that is read during a handshake, in bytes.
pub const MOST_FRAME: u64 = 256;
/// How many random bytes a challenge has.
pub const RANDOM: usize = 40;

const CHALLENGE: &[u8] = b"#CHALLENGE#";
const WELCOME: &[u8] = b"#WELCOME#";
const FAILURE: &[u8] = b"#FAILURE#";
/// The body of an old peer's challenge, and the shortest there is.
const OLD_BODY: usize = 20;
/// An old peer's answer: HMAC-MD5 without a name.
const OLD_ANSWER: usize = 16;

/// The secret that both ends know.
#[derive(Clone, PartialEq, Eq)]
pub struct AuthKey(Arc<[u8]>);

impl AuthKey {
    /// A key of these bytes.
    pub fn new(bytes: impl AsRef<[u8]>) -> AuthKey {
        AuthKey(bytes.as_ref().into())
    }
}

impl fmt::Debug for AuthKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthKey(…)")
    }
}

/// Why the two ends do not trust each other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// The peer's answer to our challenge is wrong.
    #[error("the peer does not have our authkey: its answer to our challenge is wrong")]
    WrongAnswer,
    /// The peer says that our answer is wrong.
    #[error("the peer refuses our authkey: give both ends the same one")]
    Refused,
    /// An answer in no form that there is.
    #[error(
        "the peer's answer to our challenge, {length} bytes, is none: it does not speak this protocol, or uses no authkey"
    )]
    NoAnswer {
        /// How long it was, in bytes.
        length: usize,
    },
    /// Something else where a challenge should be.
    #[error(
        "the peer sent {length} bytes that are no challenge: it does not speak this protocol, or uses no authkey"
    )]
    NoChallenge {
        /// How many they were.
        length: usize,
    },
    /// A challenge that is too easy to guess.
    #[error("the peer's challenge has {length} bytes, and at least 20 are needed")]
    ShortChallenge {
        /// How long it was, in bytes.
        length: usize,
    },
    /// A challenge that does not name a digest of ours.
    #[error(
        "the peer's challenge names no digest that is known here: {} are",
        Digest::NAMES
    )]
    UnknownDigest,
    /// Our own challenge came back: the peer wants to hear the answer from us.
    #[error(
        "the peer's challenge is one that this process has made itself: it was not answered, since the answer would let the peer in elsewhere"
    )]
    OwnChallenge,
    /// A challenge that this process has answered, or made, before.
    #[error("the peer's challenge has been used before: it was not answered")]
    ReplayedChallenge,
    /// Neither welcome nor failure.
    #[error(
        "the peer said neither yes nor no to our answer, but {length} other bytes: it does not speak this protocol"
    )]
    NoVerdict {
        /// How many they were.
        length: usize,
    },
}

/// Which end of the connection this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It accepted the connection, and challenges first.
    Acceptor,
    /// It connected, and answers first.
    Connector,
}

/// What a [`Handshake`] asks for next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Send a frame with this payload.
    Send(Vec<u8>),
    /// Receive a frame of at most [`MOST_FRAME`] bytes, and give its payload to [`Handshake::receive`].
    Receive,
    /// Both ends have shown that they have the key.
    Done,
    /// They have not: the connection is to be closed.
    Failed(AuthError),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// Our challenge is out.
    Challenging,
    /// The peer's challenge is awaited.
    Answering,
    /// Our answer is out.
    Judged,
    Done,
    Failed(AuthError),
}

/// One end of a handshake.
pub struct Handshake<'a> {
    key: AuthKey,
    role: Role,
    /// What the peer must answer.
    body: Vec<u8>,
    challenges: &'a Challenges,
    within: Option<Within>,
    state: State,
    sending: Option<Vec<u8>>,
}

impl<'a> Handshake<'a> {
    /// A handshake that has not begun. `random` must never have been used before; `challenges` belongs to all handshakes
    /// of the process; `within` tells whether both ends are its own.
    pub fn new(
        key: &AuthKey,
        role: Role,
        digest: Digest,
        random: [u8; RANDOM],
        challenges: &'a Challenges,
        within: Option<Within>,
    ) -> Handshake<'a> {
        let mut body = format!("{{{}}}", digest.name()).into_bytes();
        body.extend(random);
        // From the start, though the connector's goes out later: who could have guessed it?
        challenges.is_out(&body, within.clone());
        let mut handshake = Handshake {
            key: key.clone(),
            role,
            body,
            challenges,
            within,
            state: State::Answering,
            sending: None,
        };
        if role == Role::Acceptor {
            handshake.challenge();
        }
        handshake
    }

    /// What is to be done now.
    pub fn step(&mut self) -> Next {
        if let Some(frame) = self.sending.take() {
            return Next::Send(frame);
        }
        match &self.state {
            State::Challenging | State::Answering | State::Judged => Next::Receive,
            State::Done => Next::Done,
            State::Failed(error) => Next::Failed(error.clone()),
        }
    }

    /// Takes the payload of a frame that [`Handshake::step`] asked for. One that it did not ask for is ignored.
    pub fn receive(&mut self, frame: &[u8]) {
        match self.state {
            State::Challenging => match self.verify(frame) {
                Ok(()) => {
                    self.sending = Some(WELCOME.into());
                    self.state = match self.role {
                        Role::Acceptor => State::Answering,
                        Role::Connector => State::Done,
                    };
                }
                Err(error) => {
                    self.sending = Some(FAILURE.into());
                    self.state = State::Failed(error);
                }
            },
            State::Answering => match self.answer(frame) {
                Ok(answer) => {
                    self.sending = Some(answer);
                    self.state = State::Judged;
                }
                Err(error) => self.state = State::Failed(error),
            },
            State::Judged => match (frame, self.role) {
                (WELCOME, Role::Acceptor) => self.state = State::Done,
                (WELCOME, Role::Connector) => self.challenge(),
                (FAILURE, _) => self.state = State::Failed(AuthError::Refused),
                (other, _) => {
                    let length = other.len();
                    self.state = State::Failed(AuthError::NoVerdict { length });
                }
            },
            State::Done | State::Failed(_) => {}
        }
    }

    fn challenge(&mut self) {
        self.sending = Some([CHALLENGE, &self.body].concat());
        self.state = State::Challenging;
    }

    fn verify(&self, answer: &[u8]) -> Result<(), AuthError> {
        let (digest, mac) = match answer.len() {
            OLD_ANSWER => (Digest::Md5, answer),
            // Any digest will do: the answer is bound to the whole body, the name in it included.
            length => Digest::named_by(answer).ok_or(AuthError::NoAnswer { length })?,
        };
        match digest.verifies(&self.key.0, &self.body, mac) {
            true => Ok(()),
            false => Err(AuthError::WrongAnswer),
        }
    }

    fn answer(&self, frame: &[u8]) -> Result<Vec<u8>, AuthError> {
        let body = frame.strip_prefix(CHALLENGE);
        let body = body.ok_or(AuthError::NoChallenge {
            length: frame.len(),
        })?;
        let named = match body.len() {
            length @ ..OLD_BODY => return Err(AuthError::ShortChallenge { length }),
            OLD_BODY => None,
            _ => Some(Digest::named_by(body).ok_or(AuthError::UnknownDigest)?.0),
        };
        self.challenges
            .may_be_answered(body, self.within.as_ref())?;
        let digest = named.unwrap_or(Digest::Md5);
        let mut answer = named.map_or(Vec::new(), |named| {
            format!("{{{}}}", named.name()).into_bytes()
        });
        answer.extend(digest.mac(&self.key.0, body));
        Ok(answer)
    }
}

impl Drop for Handshake<'_> {
    fn drop(&mut self) {
        self.challenges.is_over(&self.body);
    }
}
