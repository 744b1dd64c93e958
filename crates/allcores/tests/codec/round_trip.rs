//! What goes out comes in, and damaged bytes are errors or other values, never a panic.

use std::collections::BTreeMap;

use allcores::multiprocessing::connection::codec::{Codec, Compact, Pickle};
use proptest::prelude::*;
use proptest::sample::Index;
use serde::{Deserialize, Serialize};

use crate::any::Any;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    Empty,
    Round(f64),
    Square(u8, i64),
    Other { name: String, sides: Vec<u32> },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Message {
    number: u64,
    signed: i64,
    small: i8,
    maybe: Option<(u16, bool)>,
    text: String,
    letter: char,
    #[serde(with = "serde_bytes")]
    bytes: Vec<u8>,
    shapes: Vec<Shape>,
    table: BTreeMap<String, Vec<Option<i32>>>,
    numbered: BTreeMap<u32, Shape>,
    array: [u8; 3],
    /// A text for people, bytes for machines.
    address: std::net::IpAddr,
}

fn shape() -> impl Strategy<Value = Shape> {
    prop_oneof![
        Just(Shape::Empty),
        (-1e300..1e300).prop_map(Shape::Round),
        any::<(u8, i64)>().prop_map(|(a, b)| Shape::Square(a, b)),
        (any::<String>(), prop::collection::vec(any::<u32>(), 0..5))
            .prop_map(|(name, sides)| Shape::Other { name, sides }),
    ]
}

prop_compose! {
    fn message()(
        (number, signed, small) in any::<(u64, i64, i8)>(),
        maybe in any::<Option<(u16, bool)>>(),
        (text, letter) in any::<(String, char)>(),
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        shapes in prop::collection::vec(shape(), 0..5),
        table in prop::collection::btree_map(any::<String>(), prop::collection::vec(any::<Option<i32>>(), 0..4), 0..4),
        numbered in prop::collection::btree_map(any::<u32>(), shape(), 0..4),
        array in any::<[u8; 3]>(),
        address in any::<std::net::IpAddr>(),
    ) -> Message {
        Message { number, signed, small, maybe, text, letter, bytes, shapes, table, numbered, array, address }
    }
}

/// Anything that both our writer and Python know.
fn anything() -> impl Strategy<Value = Any> {
    let leaf = prop_oneof![
        Just(Any::None),
        any::<bool>().prop_map(Any::Bool),
        any::<i64>().prop_map(|int| Any::Int(int.into())),
        any::<u64>().prop_map(|int| Any::Int(int.into())),
        (-1e300..1e300).prop_map(Any::Float),
        any::<String>().prop_map(Any::Text),
        prop::collection::vec(any::<u8>(), 0..20).prop_map(Any::Bytes),
    ];
    leaf.prop_recursive(6, 60, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Any::Seq),
            prop::collection::vec((inner.clone(), inner), 0..4).prop_map(Any::Map),
        ]
    })
}

/// Instructions that fit together more often than random bytes do.
fn program() -> impl Strategy<Value = Vec<u8>> {
    let known = b"(((.IJKMLNNNFGTUVXBC]]laaee)t}dssuughjjpqrcR".to_vec();
    let binary = vec![
        0x8a, 0x8b, 0x88, 0x89, 0x8c, 0x8d, 0x8e, 0x96, 0x85, 0x86, 0x87, 0x8f, 0x90, 0x91, 0x94,
        0x93, 0x80, 0x95,
    ];
    let instruction = prop_oneof![
        prop::sample::select(known).prop_map(|opcode| vec![opcode]),
        prop::sample::select(binary).prop_map(|opcode| vec![opcode]),
        Just(b"cbuiltins\nset\n".to_vec()),
        Just(b"K\x01".to_vec()),
        Just(b"q\0".to_vec()),
        Just(b"h\0".to_vec()),
        Just(b"X\x02\0\0\0ab".to_vec()),
        Just(b"I1\n".to_vec()),
        any::<u8>().prop_map(|byte| vec![byte]),
    ];
    prop::collection::vec(instruction, 0..40).prop_map(|parts| {
        let mut program = parts.concat();
        program.push(b'.');
        program
    })
}

proptest! {
    #[test]
    fn both_codecs_give_back_what_they_took(message in message(), before in prop::collection::vec(any::<u8>(), 0..20)) {
        let compact = Compact::encode(&message, before.clone()).unwrap();
        prop_assert_eq!(&compact[..before.len()], &before);
        prop_assert_eq!(&Compact::decode::<Message>(&compact[before.len()..]).unwrap(), &message);
        let pickle = Pickle::encode(&message, before.clone()).unwrap();
        prop_assert_eq!(&pickle[..before.len()], &before);
        prop_assert_eq!(Pickle::decode::<Message>(&pickle[before.len()..]).unwrap(), message);
    }

    #[test]
    fn a_pickle_keeps_what_it_says_about_itself(value in anything()) {
        let pickle = Pickle::encode(&value, Vec::new()).unwrap();
        prop_assert_eq!(Pickle::decode::<Any>(&pickle).unwrap(), value);
    }

    #[test]
    fn a_cut_message_is_an_error(message in message(), cut in any::<Index>()) {
        let compact = Compact::encode(&message, Vec::new()).unwrap();
        prop_assert!(Compact::decode::<Message>(&compact[..cut.index(compact.len())]).is_err());
        let pickle = Pickle::encode(&message, Vec::new()).unwrap();
        prop_assert!(Pickle::decode::<Message>(&pickle[..cut.index(pickle.len())]).is_err());
    }

    #[test]
    fn a_longer_message_is_an_error(message in message(), more in prop::collection::vec(any::<u8>(), 1..9)) {
        let mut compact = Compact::encode(&message, Vec::new()).unwrap();
        compact.extend(&more);
        prop_assert!(Compact::decode::<Message>(&compact).is_err());
        let mut pickle = Pickle::encode(&message, Vec::new()).unwrap();
        pickle.extend(&more);
        prop_assert!(Pickle::decode::<Message>(&pickle).is_err());
    }

    #[test]
    fn damage_is_an_error_or_another_value(
        message in message(),
        damage in prop::collection::vec((any::<Index>(), any::<u8>()), 1..6),
    ) {
        let mut compact = Compact::encode(&message, Vec::new()).unwrap();
        let mut pickle = Pickle::encode(&message, Vec::new()).unwrap();
        for (place, byte) in damage {
            *place.get_mut(&mut compact) = byte;
            *place.get_mut(&mut pickle) = byte;
        }
        let _ = Compact::decode::<Message>(&compact);
        let _ = Pickle::decode::<Message>(&pickle);
        let _ = Pickle::decode::<Any>(&pickle);
    }

    #[test]
    fn no_program_makes_the_reader_panic(program in program()) {
        if let Ok(value) = Pickle::decode::<Any>(&program) {
            // What could be read can be written, unless it is wider than the writer knows, and means the same then.
            if let Ok(pickle) = Pickle::encode(&value, Vec::new()) {
                let again = Pickle::decode::<Any>(&pickle).unwrap();
                prop_assert_eq!(format!("{again:?}"), format!("{value:?}"));
            }
        }
        let _ = Pickle::decode::<Message>(&program);
    }
}
