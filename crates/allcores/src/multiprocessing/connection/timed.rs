//! Messages under a deadline.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::frame::Header;
use super::{Codec, Connection, RecvError, SendError, stream};
use crate::sys::clock::Deadline;

impl<S: Serialize, R, C: Codec> Connection<S, R, C> {
    /// As [`Connection::send`], but gives up when the far end has made no room for the whole message after `timeout`.
    ///
    /// # Errors
    /// [`SendError::TimedOut`] if nothing was sent: try again. [`SendError::TooSlow`] if a part was: nothing can be sent
    /// any more. Otherwise as [`Connection::send`].
    pub fn send_timeout(&self, value: &S, timeout: Duration) -> Result<(), SendError> {
        let (encoded, mut outgoing) = stream::encode_with::<C, _>(value, self.stream.outgoing())?;
        let parcels = outgoing.take_parcels();
        let (bytes, start) = encoded.into_frame();
        let deadline = Deadline::after(timeout);
        self.stream
            .send_by(&bytes[start..], &[], &outgoing.borrowed(), deadline)?;
        parcels.delivered();
        Ok(())
    }

    /// As [`Connection::send_bytes`], but gives up as [`Connection::send_timeout`] does.
    ///
    /// # Errors
    /// As [`Connection::send_timeout`].
    pub fn send_bytes_timeout(&self, bytes: &[u8], timeout: Duration) -> Result<(), SendError> {
        let header = Header::new(bytes.len() as u64);
        let deadline = Deadline::after(timeout);
        self.stream.send_by(header.as_bytes(), bytes, &[], deadline)
    }
}

impl<S, R: DeserializeOwned, C: Codec> Connection<S, R, C> {
    /// As [`Connection::recv`], but gives up after `timeout`: `None` if nothing of a message has come by then. Unlike
    /// [`Connection::poll_timeout`] and a `recv` after it, it does not wait for the rest of a message that a slow or
    /// hostile peer has only begun.
    ///
    /// # Errors
    /// [`RecvError::TooSlow`] if a message has begun to come, and is not whole: nothing can be received any more. Otherwise as
    /// [`Connection::recv`].
    ///
    /// ```
    /// # use std::time::Duration;
    /// use allcores::multiprocessing::Pipe;
    /// let (a, b) = Pipe::<u8, u8>()?;
    /// assert_eq!(b.recv_timeout(Duration::from_millis(1))?, None);
    /// a.send(&1)?;
    /// assert_eq!(b.recv_timeout(Duration::from_secs(5))?, Some(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Option<R>, RecvError> {
        let received = self.stream.receive_by(None, Deadline::after(timeout))?;
        received
            .map(|(message, incoming)| stream::decode_with::<C, _>(&message, incoming))
            .transpose()
    }

    /// As [`Connection::recv_bytes_max`], but gives up as [`Connection::recv_timeout`] does.
    ///
    /// # Errors
    /// As [`Connection::recv_timeout`] and [`Connection::recv_bytes_max`].
    pub fn recv_bytes_timeout(
        &self,
        most: usize,
        timeout: Duration,
    ) -> Result<Option<Vec<u8>>, RecvError> {
        let deadline = Deadline::after(timeout);
        self.stream.receive_bytes(Some(most as u64), deadline)
    }
}
