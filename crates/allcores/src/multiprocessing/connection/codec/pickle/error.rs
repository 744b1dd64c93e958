//! What can be wrong with a pickle.

use std::fmt;

use super::limits::{MOST_DEPTH, MOST_INT_BITS};

/// Why bytes are no pickle of the value wanted, or a value is none that a pickle can hold; inside a
/// [`CodecError`](crate::multiprocessing::connection::CodecError).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PickleError {
    /// The message ends before the pickle does.
    #[error("the pickle is cut off: {what} at byte {at} goes beyond its end")]
    CutOff {
        /// What was being read.
        what: &'static str,
        /// Where it begins, in bytes.
        at: usize,
    },
    /// Bytes follow the pickle.
    #[error("{bytes} bytes follow the end of the pickle")]
    LeftOver {
        /// How many.
        bytes: usize,
    },
    /// An instruction that plain data does without, or that no pickle has.
    #[error(
        "the pickle has the instruction {opcode:#04x} at byte {at}, which plain data does without: send None, bool, int, float, str, bytes, bytearray, list, tuple, dict, set and frozenset alone"
    )]
    Opcode {
        /// The instruction.
        opcode: u8,
        /// Where it stands, in bytes.
        at: usize,
    },
    /// A pickle of a later protocol.
    #[error("the pickle is of protocol {version}, and 0 to 5 are known: send pickle.dumps(x, 5)")]
    Protocol {
        /// What it says.
        version: u8,
    },
    /// The instructions do not fit together: no Python wrote this.
    #[error("the pickle is broken at byte {at}: {reason}")]
    Broken {
        /// Where, in bytes.
        at: usize,
        /// In which way.
        reason: &'static str,
    },
    /// An instance of a class, or a function. Nothing was imported or called.
    #[error(
        "the pickle names {name}, and only plain data is taken: turn it into a dict, a list or a str before it is sent (dataclasses.asdict, vars, .tolist())"
    )]
    Class {
        /// Module and name, as the pickle says; cut short if long.
        name: String,
    },
    /// A structure that contains itself.
    #[error("the pickle holds a structure that contains itself, which no Rust value can")]
    Recursive,
    /// Nested too deeply.
    #[error(
        "the pickle is nested more than {MOST_DEPTH} levels deep: send it flatter, or in several messages"
    )]
    TooDeep,
    /// Short bytes that name one large object again and again.
    #[error(
        "the pickle of {bytes} bytes unfolds to more than {most}, since it names the same objects again and again: send them once, or send copies"
    )]
    Unfolds {
        /// The length of the pickle.
        bytes: usize,
        /// What it may unfold to.
        most: u64,
    },
    /// An int that no Rust integer holds.
    #[error(
        "the pickle holds an int of more than {MOST_INT_BITS} bits at byte {at}: send it as a str or as bytes"
    )]
    IntTooLarge {
        /// Where, in bytes.
        at: usize,
    },
    /// A str that is no Unicode text.
    #[error(
        "the pickle holds a str with a lone surrogate or other bytes that are not UTF-8 at byte {at}: send it as bytes"
    )]
    NotUtf8 {
        /// Where, in bytes.
        at: usize,
    },
    /// More bytes than the writer's lengths can say.
    #[error(
        "a pickle of {bytes} bytes: 4 GiB and more go through send_bytes, or in several messages"
    )]
    TooLong {
        /// How many.
        bytes: usize,
    },
    /// The pickle is in order, but it is none of the type wanted; or the value has no form as a pickle.
    #[error("{0}")]
    Value(String),
}

impl serde::de::Error for PickleError {
    fn custom<T: fmt::Display>(message: T) -> PickleError {
        PickleError::Value(message.to_string())
    }
}
