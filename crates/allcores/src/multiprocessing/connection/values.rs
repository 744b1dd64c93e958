//! Values in frames.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::codec::{Codec, Compact};
use super::error::{RecvError, SendError};
use super::frame::{Header, MOST_HEADER};
use crate::multiprocessing::transfer::{self, Incoming, Outgoing};

/// Serialises `value` into a frame of its own, header included, while its handles hand over what they stand for: between
/// relatives, who run the same program.
pub(crate) fn encode<T: Serialize>(
    value: &T,
    outgoing: Outgoing,
) -> Result<(Encoded, Outgoing), SendError> {
    encode_with::<Compact, T>(value, outgoing)
}

/// As [`encode`], with a codec.
pub(crate) fn encode_with<C: Codec, T: Serialize>(
    value: &T,
    outgoing: Outgoing,
) -> Result<(Encoded, Outgoing), SendError> {
    // Room for the longest header, so that header and payload are one piece in the end.
    let bytes = vec![0; MOST_HEADER];
    let outgoing = outgoing.in_codec::<C>();
    let (result, outgoing, failure) = transfer::sending(outgoing, || C::encode(value, bytes));
    match (result, failure) {
        (Ok(bytes), _) => Ok((Encoded { bytes }, outgoing)),
        (Err(_), Some(failure)) => Err(failure.into()),
        (Err(reason), None) => Err(SendError::Encode {
            of: std::any::type_name::<T>(),
            reason,
        }),
    }
}

/// A value as bytes, with room in front for a header.
pub(crate) struct Encoded {
    bytes: Vec<u8>,
}

impl Encoded {
    /// Without the header.
    pub(crate) fn payload(&self) -> &[u8] {
        &self.bytes[MOST_HEADER..]
    }

    /// With it.
    pub(crate) fn into_frame(mut self) -> (Vec<u8>, usize) {
        let header = Header::new(self.payload().len() as u64);
        let start = MOST_HEADER - header.as_bytes().len();
        self.bytes[start..MOST_HEADER].copy_from_slice(header.as_bytes());
        (self.bytes, start)
    }
}

/// The value that a message holds, all of it; its handles take what came along. Between relatives.
pub(crate) fn decode<T: DeserializeOwned>(
    message: &[u8],
    incoming: Incoming,
) -> Result<T, RecvError> {
    decode_with::<Compact, T>(message, incoming)
}

/// As [`decode`], with a codec.
pub(crate) fn decode_with<C: Codec, T: DeserializeOwned>(
    message: &[u8],
    incoming: Incoming,
) -> Result<T, RecvError> {
    let incoming = incoming.in_codec::<C>();
    let (result, failure) = transfer::receiving(incoming, || C::decode(message));
    match (result, failure) {
        (Ok(value), _) => Ok(value),
        (Err(_), Some(failure)) => Err(failure.into()),
        (Err(reason), None) => Err(RecvError::Decode {
            expected: std::any::type_name::<T>(),
            reason,
        }),
    }
}
