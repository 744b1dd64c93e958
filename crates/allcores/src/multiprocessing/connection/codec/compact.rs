//! The default between Rust ends.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::bounds::{Bounds, Within};
use super::{Codec, CodecError};

/// [postcard](https://docs.rs/postcard): small and fast, and without any word of types, so both ends must be built from
/// the same. The default.
///
/// What is nested more than 256 levels deep (a list whose nodes hold each other, say) is refused by its receiver: a peer
/// must not choose how much stack is used. Lengths in a message are believed as far as the message goes.
#[derive(Clone, Copy, Debug)]
pub enum Compact {}

impl Codec for Compact {
    const NAME: &'static str = "Compact";

    fn encode<T: Serialize + ?Sized>(value: &T, message: Vec<u8>) -> Result<Vec<u8>, CodecError> {
        postcard::to_extend(value, message).map_err(CodecError::new)
    }

    fn decode<T: DeserializeOwned>(message: &[u8]) -> Result<T, CodecError> {
        let mut reader = postcard::Deserializer::from_bytes(message);
        let bounds = Bounds::new(message.len());
        let value = T::deserialize(Within::new(&mut reader, &bounds));
        let value = value.map_err(|error| match bounds.excess() {
            Some(excess) => CodecError::new(excess),
            None => CodecError::new(error),
        })?;
        match reader.finalize().map_err(CodecError::new)? {
            [] => Ok(value),
            rest => Err(CodecError::left_over(rest.len())),
        }
    }
}
