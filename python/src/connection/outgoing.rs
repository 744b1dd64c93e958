//! A frame on its way out.

use pyo3::prelude::*;

use super::io::{self, Channel, Pieces, Step, piece};
use crate::block::{Slept, block};

/// What is at most sent without letting other threads have the interpreter: the kernel copies it in the time that this takes.
const QUICK: usize = 16 << 10;

/// The header of a frame: 4 bytes, or 12 where the length does not fit into a positive number of 4 bytes.
pub(super) struct Header {
    bytes: [u8; 12],
    length: usize,
}

impl Header {
    pub(super) fn of(length: usize) -> Header {
        let mut bytes = [0xff; 12];
        let used = match i32::try_from(length) {
            Ok(short) => {
                bytes[..4].copy_from_slice(&short.to_be_bytes());
                4
            }
            Err(_) => {
                bytes[4..].copy_from_slice(&(length as u64).to_be_bytes());
                12
            }
        };
        Header {
            bytes,
            length: used,
        }
    }

    pub(super) fn piece(&self) -> libc::iovec {
        piece(self.bytes.as_ptr(), self.length)
    }
}

/// Sends the pieces, `total` bytes in all. A signal's handler may end that by raising, in the middle of a frame.
pub(super) fn send(
    py: Python<'_>,
    fd: i32,
    channel: Channel,
    mut pieces: Pieces<'_>,
    total: usize,
) -> PyResult<()> {
    if total <= QUICK && channel == Channel::Socket {
        match pieces.send(fd, channel, false) {
            Step::Done => return Ok(()),
            Step::Failed(number) => return Err(io::os_error(number)),
            Step::Interrupted => py.check_signals()?,
            Step::Later | Step::End => {}
        }
    }
    let sent = block(py, || match pieces.send(fd, channel, true) {
        Step::Interrupted => Slept::Interrupted,
        step => Slept::Over(step),
    })?;
    match sent {
        Step::Failed(number) => Err(io::os_error(number)),
        _ => Ok(()),
    }
}
