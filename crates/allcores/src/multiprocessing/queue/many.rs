//! Many messages at once.

use std::collections::VecDeque;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::core::Core;
use super::error::{GetError, PutError, PutManyError};
use super::message::{self, Attached};
use super::put::Outbound;
use super::take::{Found, LargeMessage, finding};
use super::typed::Queue;
use crate::sync::Deadline;
use crate::sys::fork;

/// How many bytes are serialised before they are put.
const AT_ONCE: usize = 32 << 10;

impl<T: Serialize> Queue<T> {
    /// Puts values in their order, as many at once as there is room for; waits for room for the rest. Those of other
    /// producers may come between. Cheaper than putting them one by one: one lock and one wake-up for all that fit.
    ///
    /// # Errors
    /// If one of them is not put, neither are those after it; the error tells how many were.
    ///
    /// ```
    /// use allcores::multiprocessing::Queue;
    /// let queue = Queue::new()?;
    /// assert_eq!(queue.put_many(&[1, 2, 3])?, 3);
    /// let got: Result<Vec<i32>, _> = queue.get_many(10)?.collect();
    /// assert_eq!(got?, [1, 2, 3]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn put_many<'a>(
        &self,
        values: impl IntoIterator<Item = &'a T>,
    ) -> Result<usize, PutManyError>
    where
        T: 'a,
    {
        let mut values = values.into_iter();
        let mut put = 0;
        loop {
            let (batch, reason) = Batch::encode(self.core(), &mut values);
            let last = batch.ends.is_empty();
            put += self
                .put_batch(batch)
                .map_err(|(more, reason)| PutManyError {
                    put: put + more,
                    reason,
                })?;
            match reason {
                Some(reason) => return Err(PutManyError { put, reason }),
                None if last => return Ok(put),
                None => {}
            }
        }
    }

    /// Puts them all, or says how many it has put.
    fn put_batch(&self, batch: Batch) -> Result<usize, (usize, PutError)> {
        let mut start = 0;
        let parts: Vec<[&[u8]; 1]> = batch
            .ends
            .iter()
            .map(|(end, _)| [&batch.bytes[std::mem::replace(&mut start, *end)..*end]])
            .collect();
        let messages: Vec<Outbound<'_>> = parts
            .iter()
            .zip(&batch.ends)
            .map(|(parts, (_, attached))| Outbound {
                parts,
                pins: &attached.pins,
            })
            .collect();
        let mut put = 0;
        let mut failed = None;
        while put < messages.len() && failed.is_none() {
            match self.put_messages(&messages[put..], Deadline::NEVER) {
                Ok(more) => put += more,
                Err(reason) => failed = Some(reason),
            }
        }
        drop(messages);
        for (_, attached) in batch.ends.into_iter().take(put) {
            attached.delivered();
        }
        failed.map_or(Ok(put), |reason| Err((put, reason)))
    }
}

/// Values on their way into the queue: one after the other, by where each ends.
struct Batch {
    bytes: Vec<u8>,
    ends: Vec<(usize, Attached)>,
}

impl Batch {
    /// As many as make some bytes, up to one that does not serialise.
    fn encode<'a, T: Serialize + 'a>(
        core: &Core,
        values: &mut impl Iterator<Item = &'a T>,
    ) -> (Batch, Option<PutError>) {
        let mut batch = Batch {
            bytes: Vec::new(),
            ends: Vec::new(),
        };
        while batch.bytes.len() < AT_ONCE {
            let Some(value) = values.next() else { break };
            let encoded = message::with_scratch(|buffer| {
                let attached = message::encode(core, value, buffer)?;
                batch.bytes.extend_from_slice(buffer);
                Ok(attached)
            });
            match encoded {
                Ok(attached) => batch.ends.push((batch.bytes.len(), attached)),
                Err(reason) => return (batch, Some(reason)),
            }
        }
        (batch, None)
    }
}

impl<T: DeserializeOwned> Queue<T> {
    /// Gets all values that are there, `most` at most, at once; waits for one if there is none. With `most` 0 the answer is
    /// empty at once.
    ///
    /// # Errors
    /// [`GetError::Closed`] and [`GetError::Disconnected`]. What does not decode is an error of the one value.
    pub fn get_many(&self, most: usize) -> Result<GotMany<'_, T>, GetError> {
        let mut bytes = Vec::new();
        let mut messages = VecDeque::new();
        if most > 0 {
            self.when_there(Deadline::NEVER, |turn| {
                let each = finding(|found| match found {
                    Found::Here(message, pinned) => {
                        bytes.extend_from_slice(message);
                        messages.push_back(Message::Copied(message.len(), pinned));
                    }
                    Found::Large(message) => messages.push_back(Message::Large(message)),
                });
                self.core().take_batch(most as u64, each, turn)
            })?;
        }
        Ok(GotMany {
            core: self.core(),
            bytes,
            start: 0,
            messages,
            generation: fork::generation(),
            carries: PhantomData,
        })
    }
}

enum Message<'a> {
    /// So many of the bytes, and whether they end with pins.
    Copied(usize, bool),
    Large(LargeMessage<'a>),
}

/// The values that [`Queue::get_many`] has taken out of the queue, to be decoded one by one. Those that are left when it is
/// dropped are lost.
#[must_use = "the values are out of the queue"]
pub struct GotMany<'a, T> {
    core: &'a Core,
    bytes: Vec<u8>,
    start: usize,
    messages: VecDeque<Message<'a>>,
    generation: u32,
    carries: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Iterator for GotMany<'_, T> {
    type Item = Result<T, GetError>;

    fn next(&mut self) -> Option<Result<T, GetError>> {
        Some(match self.messages.pop_front()? {
            Message::Copied(length, pinned) => {
                let end = self.start + length;
                let bytes = &self.bytes[std::mem::replace(&mut self.start, end)..end];
                message::decode(self.core, bytes, pinned)
            }
            Message::Large(message) => message::decode(self.core, message.bytes(), message.pinned),
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.messages.len(), Some(self.messages.len()))
    }
}

impl<T: DeserializeOwned> ExactSizeIterator for GotMany<'_, T> {}

impl<T> Drop for GotMany<'_, T> {
    fn drop(&mut self) {
        // In a forked child all of it is the parent's still.
        if self.generation != fork::generation() {
            return;
        }
        // The handles in what is left are given up.
        for message in self.messages.drain(..) {
            match message {
                Message::Copied(length, pinned) => {
                    let end = self.start + length;
                    let bytes = &self.bytes[std::mem::replace(&mut self.start, end)..end];
                    message::raw(self.core, bytes, pinned);
                }
                Message::Large(message) => {
                    message::raw(self.core, message.bytes(), message.pinned);
                }
            }
        }
    }
}

impl<T> std::fmt::Debug for GotMany<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GotMany")
            .field("left", &self.messages.len())
            .finish_non_exhaustive()
    }
}
