//! How values become bytes, chosen by the type of the [`Connection`](super::Connection).

mod compact;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use compact::Compact;

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
