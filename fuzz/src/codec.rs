//! Bytes where a value should be, in both codecs.
//!
//! Bytes: what is wanted (1), the message.

use std::collections::{BTreeMap, BTreeSet};

use allcores::multiprocessing::connection::codec::{Codec, Compact, Pickle};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

use super::Bytes;
use super::any::Any;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Tree {
    Leaf,
    One(Box<Tree>),
    Many(Vec<Tree>),
    Named {
        name: String,
        tree: Option<Box<Tree>>,
    },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Message {
    number: u64,
    signed: Option<i64>,
    text: String,
    letter: char,
    #[serde(with = "serde_bytes")]
    bytes: Vec<u8>,
    pair: (bool, f64),
    table: BTreeMap<String, Vec<i32>>,
    set: BTreeSet<u8>,
    tree: Tree,
    nothing: (),
}

/// What can be read can be written, and is the same when it is read again.
fn both_ways<C: Codec, T: Serialize + DeserializeOwned + std::fmt::Debug>(message: &[u8]) {
    if let Ok(value) = C::decode::<T>(message) {
        // Except for integers that are wider than a writer knows.
        if let Ok(written) = C::encode(&value, Vec::new()) {
            let again = C::decode::<T>(&written).expect("what was written can be read");
            // As texts: there are numbers that do not equal themselves.
            assert_eq!(format!("{value:?}"), format!("{again:?}"));
        }
    }
}

/// Reads it as one of some types.
pub fn run(data: &[u8]) {
    let mut bytes = Bytes(data);
    let wanted = bytes.u8();
    let message = bytes.0;
    match wanted % 8 {
        0 => both_ways::<Pickle, Any>(message),
        1 => both_ways::<Pickle, Message>(message),
        2 => both_ways::<Pickle, Tree>(message),
        3 => both_ways::<Pickle, (u8, Vec<u8>, [u16; 3])>(message),
        4 => drop(Pickle::decode::<IgnoredAny>(message)),
        5 => both_ways::<Compact, Message>(message),
        6 => both_ways::<Compact, Tree>(message),
        _ => both_ways::<Compact, (Vec<Vec<String>>, Option<i128>)>(message),
    }
}
