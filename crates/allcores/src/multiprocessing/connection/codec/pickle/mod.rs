//! The codec for stock Python ends.
//!
//! Values are written by [serde-pickle](https://docs.rs/serde-pickle), as protocol 3. They are read by [`machine`]: what a
//! stranger sends is a program, and it must be one that cannot make us run out of stack or memory.

mod error;
mod input;
mod limits;
mod machine;
#[doc(hidden)]
pub mod opcode;
mod scalar;
mod tree;
mod value;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_pickle::{SerOptions, Serializer};

pub use error::PickleError;

use super::{Codec, CodecError};
use value::Value;

/// Python's pickle: for a `multiprocessing.connection.Connection` of a stock Python at the other end, whose `send(x)` and
/// `recv()` carry any plain value. What becomes what stands in a table [above](super#what-pickle-makes-of-values).
///
/// Nothing that comes is ever imported or called: an instance of a class is an error, and so is everything else that is no
/// plain data, nested more than 128 levels deep, or out of proportion to its length. Handles do not travel in it.
#[derive(Clone, Copy, Debug)]
pub enum Pickle {}

/// `PROTO 3`: what every Python 3 reads.
const BEGIN: [u8; 2] = [opcode::PROTO, 3];

/// Why a value has no form as a pickle, without the words that the writer's errors share with its reader's.
fn unwritten(error: &serde_pickle::Error) -> PickleError {
    PickleError::Value(match error {
        serde_pickle::Error::Syntax(reason) => reason.to_string(),
        other => other.to_string(),
    })
}

impl Codec for Pickle {
    const NAME: &'static str = "Pickle";
    const CARRIES_HANDLES: bool = false;

    fn encode<T: Serialize + ?Sized>(
        value: &T,
        mut message: Vec<u8>,
    ) -> Result<Vec<u8>, CodecError> {
        let start = message.len();
        message.extend(BEGIN);
        value
            .serialize(&mut Serializer::new(&mut message, SerOptions::new()))
            .map_err(|error| CodecError::new(unwritten(&error)))?;
        message.push(opcode::STOP);
        // Texts and bytes are written with lengths of 32 bits, whatever they are.
        match message.len() - start {
            bytes if u32::try_from(bytes).is_err() => {
                Err(CodecError::new(PickleError::TooLong { bytes }))
            }
            _ => Ok(message),
        }
    }

    fn decode<T: DeserializeOwned>(message: &[u8]) -> Result<T, CodecError> {
        let (tree, root) = machine::run(message).map_err(CodecError::new)?;
        T::deserialize(Value::new(&tree, root)).map_err(CodecError::new)
    }
}
