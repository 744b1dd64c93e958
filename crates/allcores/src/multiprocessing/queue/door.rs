//! The doors for faces in other languages: messages of bytes, in parts, by waits that a signal ends.
//!
//! Hidden from the documentation and without promise of stability, as [`face`](crate::face) is.

use std::ops::Deref;
use std::ptr::NonNull;

use super::core::{Core, LONGEST};
use super::done::{ItemsLost, Joined};
use super::error::{GetError, PutError};
use super::joinable::JoinableQueue;
use super::message;
use super::poll;
use super::put::{NotPut, Outbound};
use super::take::{Found, LargeMessage, NotTaken, finding};
use super::typed::Queue;
use super::until::Stopped;
use super::wait::{Awaited, Ended, Wait};
use crate::sync::Deadline;

/// A message that was taken out.
pub enum Message<R> {
    /// What was made of its bytes.
    Short(R),
    /// It is where it was.
    Long(LongMessage),
}

/// A message of its own segment, which goes back to the queue when this is dropped.
pub struct LongMessage {
    core: Core,
    line: u32,
    bytes: NonNull<u8>,
    length: usize,
}

// SAFETY: nobody else knows the segment any more, and nobody writes there; arenas are never unmapped.
unsafe impl Send for LongMessage {}
// SAFETY: as above: its bytes are only read.
unsafe impl Sync for LongMessage {}

impl LongMessage {
    fn of(message: LargeMessage<'_>) -> LongMessage {
        let message = std::mem::ManuallyDrop::new(message);
        let bytes = message.bytes();
        LongMessage {
            core: message.core().clone(),
            line: message.line(),
            bytes: NonNull::from(bytes).cast(),
            length: message::raw(message.core(), bytes, message.pinned).len(),
        }
    }
}

impl Deref for LongMessage {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the segment holds so many bytes, and is this value's until it is dropped.
        unsafe { std::slice::from_raw_parts(self.bytes.as_ptr(), self.length) }
    }
}

impl Drop for LongMessage {
    fn drop(&mut self) {
        self.core.recycle(self.line, true);
    }
}

/// A short message, or what there is of it before its handles are given up.
enum Seen<'q, R> {
    Made(R),
    Pinned(Vec<u8>),
    Large(LargeMessage<'q>),
}

/// Takes one message, and makes something of it by `short`, which is called once at most.
#[inline]
fn receive<R, F: FnOnce(&[u8]) -> R>(
    core: &Core,
    deadline: Deadline,
    short: &mut Option<F>,
) -> Result<Message<R>, NotTaken> {
    let mut seen = None;
    let each = finding(|message| {
        seen = match message {
            Found::Here(bytes, false) => short.take().map(|make| Seen::Made(make(bytes))),
            Found::Here(bytes, true) => Some(Seen::Pinned(bytes.to_vec())),
            Found::Large(message) => Some(Seen::Large(message)),
        }
    });
    core.take_batch(1, each, deadline)?;
    match seen {
        Some(Seen::Made(made)) => Ok(Message::Short(made)),
        Some(Seen::Large(message)) => Ok(Message::Long(LongMessage::of(message))),
        Some(Seen::Pinned(bytes)) => {
            let bytes = message::raw(core, &bytes, true);
            let made = short.take().map(|make| Message::Short(make(bytes)));
            made.ok_or(NotTaken::Empty)
        }
        None => Err(NotTaken::Empty),
    }
}

#[doc(hidden)]
impl<T> Queue<T> {
    /// The longest message, in bytes.
    pub const LONGEST_MESSAGE: usize = LONGEST;

    /// Takes a message if there is one and no other consumer is in the way. `short` makes something of one that lies among
    /// others, under the consumers' lock: it must not panic, nor wait for anything.
    ///
    /// # Errors
    /// [`GetError::Closed`] and [`GetError::Damaged`].
    #[inline]
    pub fn take_at_once<R>(
        &self,
        short: impl FnOnce(&[u8]) -> R,
    ) -> Result<Option<Message<R>>, GetError> {
        match receive(self.core(), Deadline::NOW, &mut Some(short)) {
            Ok(message) => {
                poll::looked(self.core());
                Ok(Some(message))
            }
            Err(NotTaken::Empty | NotTaken::Interrupted | NotTaken::Reserved) => Ok(None),
            Err(NotTaken::Closed) => Err(GetError::Closed),
            Err(NotTaken::Damaged) => Err(super::Damaged.into()),
        }
    }

    /// Takes a message, and waits for one. `short` as in [`Queue::take_at_once`]. Only if it `heeds_holders` does the wait end
    /// because nobody else is left.
    ///
    /// # Errors
    /// If it is stopped, or for a reason.
    pub fn take_or_stop<R>(
        &self,
        deadline: Deadline,
        heeds_holders: bool,
        short: impl FnOnce(&[u8]) -> R,
    ) -> Result<Message<R>, Stopped<GetError>> {
        let mut short = Some(short);
        let attempt = |turn| receive(self.core(), turn, &mut short);
        self.get_or_stop(deadline, attempt, heeds_holders)
    }

    /// Has this process alone take messages, once those are done who are taking one; false if another one has done that and not
    /// ended it before the deadline. It ends by [`Queue::unreserve`], or with the process.
    ///
    /// # Errors
    /// If it is interrupted.
    pub fn reserve_or_stop(&self, deadline: Deadline) -> Result<bool, Stopped<GetError>> {
        match self.core().reserve(deadline) {
            Ok(()) => Ok(true),
            Err(Ended::Interrupted) => Err(Stopped::Interrupted),
            Err(_) => Ok(false),
        }
    }

    /// Ends what [`Queue::reserve_or_stop`] began; false if there was nothing to end.
    pub fn unreserve(&self) -> bool {
        self.core().unreserve()
    }

    /// Whether some process has reserved the messages for itself.
    pub fn is_reserved(&self) -> bool {
        self.core().is_reserved()
    }

    /// For tests that write over a queue: whether its locks are free. One that somebody alive is said to hold is waited for, as
    /// it must be.
    pub fn is_at_rest(&self) -> bool {
        let body = self.core().body();
        let locks = [&body.put.lock, &body.get.lock, &body.reserved];
        !locks.iter().any(|lock| lock.is_held())
    }

    /// Puts a message if there is room and no other producer is in the way.
    ///
    /// # Errors
    /// As for [`Queue::put_bytes`].
    #[inline]
    pub fn put_at_once(&self, parts: &[&[u8]]) -> Result<bool, PutError> {
        let message = Outbound { parts, pins: &[] };
        match self.core().put_batch(&[message], Deadline::NOW) {
            Ok(_) => Ok(true),
            Err(NotPut::Full | NotPut::Interrupted) => Ok(false),
            Err(NotPut::Closed) => Err(PutError::Closed),
            Err(NotPut::TooLong(length)) => Err(PutError::too_long(length)),
            Err(NotPut::Damaged) => Err(super::Damaged.into()),
            Err(NotPut::Shm(error)) => Err(error.into()),
        }
    }

    /// Puts a message, and waits for room.
    ///
    /// # Errors
    /// If it is stopped, or for a reason.
    pub fn put_parts_or_stop(
        &self,
        parts: &[&[u8]],
        deadline: Deadline,
    ) -> Result<(), Stopped<PutError>> {
        let message = Outbound { parts, pins: &[] };
        self.put_or_stop(&[message], deadline, false).map(|_| ())
    }

    /// Waits until there is something to get, or nothing more will be; false once the deadline has passed.
    ///
    /// # Errors
    /// If it is interrupted.
    pub fn wait_or_stop(
        &self,
        deadline: Deadline,
        heeds_holders: bool,
    ) -> Result<bool, Stopped<GetError>> {
        let core = self.core();
        let mut wait = None;
        let found = loop {
            if core.len() > 0 || core.is_closed() {
                break Ok(true);
            }
            poll::looked(core);
            if deadline.is_now() {
                break Ok(heeds_holders && core.is_alone() && core.len() == 0);
            }
            let wait = wait.get_or_insert_with(|| Wait::new(core.scope(), deadline, heeds_holders));
            match core.wait(Awaited::Items, wait) {
                Ok(()) => {}
                Err(Ended::TimedOut) => break Ok(false),
                Err(Ended::Disconnected) => break Ok(true),
                Err(Ended::Interrupted) => break Err(Stopped::Interrupted),
            }
        };
        // It takes nothing: a wake-up that it has had is somebody else's.
        if wait.is_some() {
            core.pass_on(Awaited::Items);
        }
        found
    }
}

#[doc(hidden)]
impl<T> JoinableQueue<T> {
    /// [`JoinableQueue::join`] that a signal ends, and that does not end because nobody else is left; false once the deadline
    /// has passed.
    ///
    /// # Errors
    /// If it is stopped, or for a reason.
    pub fn join_or_stop(&self, deadline: Deadline) -> Result<bool, Stopped<ItemsLost>> {
        match self.core().join(deadline, false) {
            Joined::AllDone => Ok(true),
            Joined::TimedOut => Ok(false),
            Joined::Interrupted => Err(Stopped::Interrupted),
            Joined::Lost(count) => Err(ItemsLost { count }.into()),
        }
    }
}
