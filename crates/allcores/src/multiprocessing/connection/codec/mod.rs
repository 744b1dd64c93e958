//! How values become bytes, chosen by the type of the [`Connection`](super::Connection).
//!
//! | codec | for | handles |
//! |---|---|---|
//! | [`Compact`], the default | ends that are allcores, built from the same types | yes |
//! | [`Pickle`] | a stock Python at the other end | no: they mean nothing there |
//! | one of yours: implement [`Codec`] | whom you like | as you say |
//!
//! Both ends must use the same; what they carry is theirs to agree on. A message that does not decode is an error, and the
//! next one can be received.
//!
//! ```
//! use allcores::multiprocessing::{Connection, connection::Pickle};
//! use serde::{Deserialize, Serialize};
//! use std::os::fd::OwnedFd;
//!
//! #[derive(Serialize)]
//! struct Task<'a> {
//!     name: &'a str,
//!     weights: Vec<f64>,
//! }
//! #[derive(Deserialize)]
//! struct Answer {
//!     total: f64,
//! }
//! const CHILD: &str = "
//! from multiprocessing.connection import Connection
//! connection = Connection(0)                  # stdin is the other end
//! task = connection.recv()                    # {'name': 'sum', 'weights': [0.5, 1.5]}
//! connection.send({'total': sum(task['weights'])})
//! ";
//!
//! let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
//! # if std::process::Command::new("python3").arg("-V").output().is_err() { return Ok(()); }
//! let mut python = std::process::Command::new("python3")
//!     .args(["-c", CHILD])
//!     .stdin(OwnedFd::from(theirs))
//!     .spawn()?;
//! let connection: Connection<Task, Answer, Pickle> = Connection::from_fd(ours.into())?;
//! connection.send(&Task { name: "sum", weights: vec![0.5, 1.5] })?;
//! assert_eq!(connection.recv()?.total, 2.0);
//! python.wait()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What Pickle makes of values
//!
//! Sent, as Python's `pickle.loads` sees it (protocol 3, so every Python 3):
//!
//! | Rust | Python |
//! |---|---|
//! | `()`, `None`, a unit struct | `None` |
//! | `Some(x)`, a newtype struct of `x` | `x` |
//! | `bool` | `bool` |
//! | integers up to 64 bits | `int` |
//! | `f32`, `f64` | `float` |
//! | `char`, `&str`, `String` | `str` |
//! | `Vec<T>`, slices, sets | `list` |
//! | bytes by [serde_bytes](https://docs.rs/serde_bytes) (a plain `Vec<u8>` is a list of ints) | `bytes` |
//! | tuples, tuple structs, arrays | `tuple` |
//! | maps (keys must be hashable in Python: no lists, no structs) | `dict` |
//! | structs | `dict` with the fields' names as keys |
//! | enums: `Stop` | `'Stop'` |
//! | enums: `Move(1)` | `{'Move': 1}` |
//! | enums: `Line(1, 2)` | `{'Line': [1, 2]}` |
//! | enums: `Turn { by: 1 }` | `{'Turn': {'by': 1}}` |
//!
//! Received, from any protocol from 0 to 5:
//!
//! | Python | Rust |
//! |---|---|
//! | `None` | `()`, `None` |
//! | `bool` | `bool` |
//! | `int` | every integer type that holds it, up to `i128` and `u128`; `f64` |
//! | `float` | `f64`, `f32` |
//! | `str` | `String`, `char`, an enum's variant without data |
//! | `bytes`, `bytearray` | `Vec<u8>`, `[u8; N]`, `serde_bytes::ByteBuf` |
//! | `list`, `tuple`, `set`, `frozenset` | `Vec`, sets, tuples and arrays of that length, structs by position |
//! | `dict`, `collections.OrderedDict` | maps, structs; of one entry: an enum's variant with data |
//! | anything else | an error that names the class |
//!
//! A `str` that is no Unicode text (a lone surrogate) is an error, as are structures that contain themselves, more than 128
//! levels of nesting, and pickles that unfold to far more than their length because they mention one large object over and
//! over.
//!
//! ```
//! use allcores::multiprocessing::connection::{Codec, Pickle};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize, Debug, PartialEq)]
//! enum Command {
//!     Stop,
//!     Turn { by: f64 },
//! }
//! // pickle.dumps({'Turn': {'by': 0.5}}, 4)
//! let bytes = b"\x80\x04\x95\x1c\0\0\0\0\0\0\0}\x94\x8c\x04Turn\x94}\x94\x8c\x02by\x94G?\xe0\0\0\0\0\0\0ss.";
//! assert_eq!(Pickle::decode::<Command>(bytes)?, Command::Turn { by: 0.5 });
//! assert_eq!(Pickle::encode(&Command::Stop, Vec::new())?, b"\x80\x03X\x04\0\0\0Stop.");
//!
//! // pickle.dumps(datetime.timedelta, 2)
//! let error = Pickle::decode::<u8>(b"\x80\x02cdatetime\ntimedelta\nq\0.").unwrap_err();
//! assert!(error.to_string().contains("names datetime.timedelta, and only plain data is taken"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod bounds;
mod compact;
pub(crate) mod pickle;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use compact::Compact;
pub use pickle::{Pickle, PickleError};

use super::CodecError;

/// How the values of a [`Connection`](super::Connection) become bytes: its third type parameter.
///
/// Both ends must use the same. Types that implement this are never made; they only stand in the type.
pub trait Codec {
    /// What messages call it.
    const NAME: &'static str;

    /// Whether values may hold handles: Connections, locks and everything else that is more than its bytes. That takes a
    /// receiver that is allcores as well. Without it, a handle in a message is
    /// [`TransferError::NotInCodec`](crate::multiprocessing::transfer::TransferError::NotInCodec).
    const CARRIES_HANDLES: bool = true;

    /// Appends `value` to `message`.
    ///
    /// # Errors
    /// A value that this codec has no bytes for.
    fn encode<T: Serialize + ?Sized>(value: &T, message: Vec<u8>) -> Result<Vec<u8>, CodecError>;

    /// The value that `message` holds, all of it.
    ///
    /// # Errors
    /// Bytes that are no such value. They come from another process, so whatever they are, this must neither panic nor
    /// take memory on their word.
    fn decode<T: DeserializeOwned>(message: &[u8]) -> Result<T, CodecError>;
}
