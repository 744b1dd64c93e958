//! Messages that are bytes, and stay so.

use std::time::Duration;

use super::error::{GetError, PutError};
use super::message;
use super::take::Taken;
use super::typed::Queue;
use crate::sync::Deadline;

impl<T> Queue<T> {
    /// Puts bytes as one message, as they are. Waits for room as [`Queue::put`] does.
    ///
    /// # Errors
    /// [`PutError::Closed`], [`PutError::Disconnected`], [`PutError::TooLong`], or no memory.
    #[inline]
    pub fn put_bytes(&self, bytes: &[u8]) -> Result<(), PutError> {
        self.put_message(&[bytes], &[], Deadline::NEVER)
    }

    /// [`Queue::put_bytes`], without waiting for room.
    ///
    /// # Errors
    /// As for [`Queue::put_bytes`], and [`PutError::Full`].
    #[inline]
    pub fn try_put_bytes(&self, bytes: &[u8]) -> Result<(), PutError> {
        self.put_message(&[bytes], &[], Deadline::NOW)
    }

    /// [`Queue::put_bytes`], waiting for room for `timeout` at most.
    ///
    /// # Errors
    /// As for [`Queue::put_bytes`], and [`PutError::Full`] if the timeout passes.
    pub fn put_bytes_timeout(&self, bytes: &[u8], timeout: Duration) -> Result<(), PutError> {
        self.put_message(&[bytes], &[], Deadline::after(timeout))
    }

    /// Gets the bytes of the next message, whatever they are; handles in it are given up. Waits as [`Queue::get`] does.
    ///
    /// # Errors
    /// [`GetError::Closed`] and [`GetError::Disconnected`].
    pub fn get_bytes(&self) -> Result<Vec<u8>, GetError> {
        self.get_bytes_with(<[u8]>::to_vec)
    }

    /// Gets the bytes of the next message if there is one.
    ///
    /// # Errors
    /// As for [`Queue::get_bytes`], and [`GetError::Empty`].
    pub fn try_get_bytes(&self) -> Result<Vec<u8>, GetError> {
        self.get_raw(Deadline::NOW, <[u8]>::to_vec)
    }

    /// [`Queue::get_bytes`], waiting for `timeout` at most.
    ///
    /// # Errors
    /// As for [`Queue::get_bytes`], and [`GetError::Empty`] if the timeout passes.
    pub fn get_bytes_timeout(&self, timeout: Duration) -> Result<Vec<u8>, GetError> {
        self.get_raw(Deadline::after(timeout), <[u8]>::to_vec)
    }

    /// [`Queue::get_bytes`] into a buffer, whose contents are replaced and whose memory is used again.
    ///
    /// # Errors
    /// As for [`Queue::get_bytes`]; the buffer is empty then.
    pub fn get_bytes_into(&self, buffer: &mut Vec<u8>) -> Result<(), GetError> {
        buffer.clear();
        let deadline = Deadline::NEVER;
        match self.take(buffer, deadline)? {
            Taken::Copied(false) => {}
            Taken::Copied(true) => {
                let kept = message::raw(self.core(), buffer, true).len();
                buffer.truncate(kept);
            }
            Taken::Large(message) => {
                buffer.extend_from_slice(message::raw(
                    self.core(),
                    message.bytes(),
                    message.pinned,
                ));
            }
        }
        Ok(())
    }

    /// Looks at the bytes of the next message and takes it out: a message beyond 16 KiB is not copied. Waits as
    /// [`Queue::get`] does. A panic of `look` takes the message with it.
    ///
    /// # Errors
    /// As for [`Queue::get_bytes`].
    pub fn get_bytes_with<R>(&self, look: impl FnOnce(&[u8]) -> R) -> Result<R, GetError> {
        self.get_raw(Deadline::NEVER, look)
    }

    fn get_raw<R>(&self, deadline: Deadline, look: impl FnOnce(&[u8]) -> R) -> Result<R, GetError> {
        self.get_message(deadline, |bytes, pinned| {
            look(message::raw(self.core(), bytes, pinned))
        })
    }
}
