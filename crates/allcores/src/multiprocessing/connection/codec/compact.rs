//! The default between Rust ends.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Codec, CodecError};

/// [postcard](https://docs.rs/postcard): small and fast, and without any word of types, so both ends must be built from
/// the same. The default.
#[derive(Clone, Copy, Debug)]
pub enum Compact {}

impl Codec for Compact {
    const NAME: &'static str = "Compact";

    fn encode<T: Serialize + ?Sized>(value: &T, message: Vec<u8>) -> Result<Vec<u8>, CodecError> {
        postcard::to_extend(value, message).map_err(CodecError::new)
    }

    fn decode<T: DeserializeOwned>(message: &[u8]) -> Result<T, CodecError> {
        match postcard::take_from_bytes(message) {
            Ok((value, [])) => Ok(value),
            Ok((_, rest)) => Err(CodecError::left_over(rest.len())),
            Err(error) => Err(CodecError::new(error)),
        }
    }
}
