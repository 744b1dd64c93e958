//! A stock Python at the other end, every version that is here, in both directions.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Child;

use allcores::multiprocessing::Connection;
use allcores::multiprocessing::connection::codec::{Pickle, PickleError};
use allcores::multiprocessing::connection::{CodecError, RecvError};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::any::Any;
use crate::python::{Python, interpreters};

/// Starts `script`, with `connection` standing for its end.
fn start<S, R>(python: &Python, script: &str) -> (Child, Connection<S, R, Pickle>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let script = format!(
        "from multiprocessing.connection import Connection\nconnection = Connection(0)\n{script}"
    );
    let child = python.run(&script, OwnedFd::from(theirs));
    (child, Connection::from_fd(ours.into()).unwrap())
}

fn reason(error: RecvError) -> PickleError {
    let RecvError::Decode { reason, .. } = error else {
        panic!("{error:?}");
    };
    pickle_error(&reason)
}

fn pickle_error(error: &CodecError) -> PickleError {
    let error = error.get_ref().downcast_ref::<PickleError>();
    error.expect("the pickle's own error").clone()
}

#[derive(Debug, Deserialize, Serialize, PartialEq)]
enum Order {
    Stop,
    Move(i32),
    Line(i32, i32),
    Turn { by: f64 },
}

#[derive(Debug, Deserialize, PartialEq)]
struct Plain {
    none: Option<u8>,
    some: Option<u8>,
    nothing: (),
    empty: (),
    yes: bool,
    no: bool,
    small: u8,
    negative: i16,
    below: i64,
    above: u64,
    wide: i128,
    lowest: i128,
    widest: u128,
    half: f64,
    infinite: f64,
    whole: f64,
    text: String,
    no_text: String,
    long_text: String,
    letter: char,
    bytes: ByteBuf,
    no_bytes: ByteBuf,
    long_bytes: ByteBuf,
    as_numbers: Vec<u8>,
    as_array: [u8; 3],
    bytearray: ByteBuf,
    no_bytearray: Vec<u8>,
    list: Vec<u32>,
    long: Vec<u32>,
    tuple: (u8, String, bool),
    one: (u8,),
    five: (u8, u8, u8, u8, u8),
    dict: BTreeMap<String, Vec<u8>>,
    numbers: BTreeMap<i64, Option<String>>,
    large: BTreeMap<u32, u32>,
    ordered: BTreeMap<String, u8>,
    set: BTreeSet<u32>,
    no_set: BTreeSet<u32>,
    frozen: BTreeSet<(u8, u8)>,
    no_frozen: BTreeSet<u8>,
    shared: Vec<Vec<String>>,
    orders: Vec<Order>,
}

/// Sends that value in every protocol.
const PLAIN: &str = r#"
import pickle, collections
shared = ['again', 'again']
plain = {
    'none': None, 'some': 1, 'nothing': None, 'empty': (), 'yes': True, 'no': False,
    'small': 255, 'negative': -300, 'below': -2**63, 'above': 2**64 - 1,
    'wide': 2**126, 'lowest': -2**127, 'widest': 2**128 - 1,
    'half': 0.5, 'infinite': float('-inf'), 'whole': 3,
    'text': 'h\u00e9 \\u \n\r \x1a \0 \u20ac \U0001f600', 'no_text': '', 'long_text': '\u00e4' * 70000,
    'letter': '\u00df',
    'bytes': bytes(range(256)), 'no_bytes': b'', 'long_bytes': b'\x80' * 70000,
    'as_numbers': b'\0\x80\xff', 'as_array': b'\0\x80\xff',
    'bytearray': bytearray(range(256)), 'no_bytearray': bytearray(),
    'list': [1, 2, 3], 'long': list(range(2500)),
    'tuple': (1, 'two', True), 'one': (7,), 'five': (1, 2, 3, 4, 5),
    'dict': {'a': [1], 'b': [], 'c': (2, 3)}, 'numbers': {-1: 'one', 2: None},
    'large': {n: n * n for n in range(2500)},
    'ordered': collections.OrderedDict([('z', 1), ('a', 2)]),
    'set': set(range(1500)), 'no_set': set(),
    'frozen': frozenset([(1, 2), (3, 4)]), 'no_frozen': frozenset(),
    'shared': [shared, shared, shared],
    'orders': ['Stop', {'Move': -5}, {'Line': (1, 2)}, {'Turn': {'by': 1}}],
}
for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
    connection.send_bytes(pickle.dumps(plain, protocol))
    # The pickler without any C has habits of its own.
    connection.send_bytes(pickle._dumps(plain, protocol))
connection.send(plain)
"#;

fn plain() -> Plain {
    let text = |text: &str| text.to_owned();
    let all: Vec<u8> = (0..=255).collect();
    Plain {
        none: None,
        some: Some(1),
        nothing: (),
        empty: (),
        yes: true,
        no: false,
        small: 255,
        negative: -300,
        below: i64::MIN,
        above: u64::MAX,
        wide: 1 << 126,
        lowest: i128::MIN,
        widest: u128::MAX,
        half: 0.5,
        infinite: f64::NEG_INFINITY,
        whole: 3.0,
        text: text("hé \\u \n\r \x1a \0 € \u{1f600}"),
        no_text: text(""),
        long_text: "ä".repeat(70_000),
        letter: 'ß',
        bytes: ByteBuf::from(all.clone()),
        no_bytes: ByteBuf::new(),
        long_bytes: ByteBuf::from(vec![0x80; 70_000]),
        as_numbers: vec![0, 0x80, 0xff],
        as_array: [0, 0x80, 0xff],
        bytearray: ByteBuf::from(all),
        no_bytearray: vec![],
        list: vec![1, 2, 3],
        long: (0..2500).collect(),
        tuple: (1, text("two"), true),
        one: (7,),
        five: (1, 2, 3, 4, 5),
        dict: [("a", vec![1]), ("b", vec![]), ("c", vec![2, 3])]
            .map(|(name, list)| (text(name), list))
            .into(),
        numbers: [(-1, Some(text("one"))), (2, None)].into(),
        large: (0..2500).map(|n| (n, n * n)).collect(),
        ordered: [(text("z"), 1), (text("a"), 2)].into(),
        set: (0..1500).collect(),
        no_set: [].into(),
        frozen: [(1, 2), (3, 4)].into(),
        no_frozen: [].into(),
        shared: vec![vec![text("again"), text("again")]; 3],
        orders: vec![
            Order::Stop,
            Order::Move(-5),
            Order::Line(1, 2),
            Order::Turn { by: 1.0 },
        ],
    }
}

#[test]
fn what_python_sends_arrives_from_every_version_in_every_protocol() {
    for python in interpreters() {
        let (mut child, connection) = start::<(), Plain>(&python, PLAIN);
        let mut received = 0;
        loop {
            match connection.recv() {
                Ok(value) => assert_eq!(value, plain(), "{python:?}, message {received}"),
                Err(RecvError::Closed) => break,
                Err(error) => panic!(
                    "{python:?}, message {received}: {error}: {:?}",
                    std::error::Error::source(&error)
                ),
            }
            received += 1;
        }
        assert!(child.wait().unwrap().success());
        assert!(received > 2 * 5, "{python:?}: {received} messages");
    }
}

#[derive(Serialize)]
struct Newtype(u8);
#[derive(Serialize)]
struct Pair(u8, u8);
#[derive(Serialize)]
struct Unit;

#[derive(Serialize)]
struct Sent<'a> {
    none: Option<u8>,
    some: Option<u8>,
    nothing: (),
    unit: Unit,
    bools: (bool, bool),
    ints: (i8, i16, i32, i64, u8, u16, u32, u64),
    lowest: (i8, i16, i32, i64),
    floats: (f32, f64),
    letter: char,
    text: &'a str,
    long_text: String,
    bytes: &'a serde_bytes::Bytes,
    long_bytes: ByteBuf,
    numbers: Vec<u8>,
    long: Vec<u32>,
    empty: Vec<u8>,
    tuples: ((u8,), (u8, u8, u8, u8)),
    newtype: Newtype,
    pair: Pair,
    map: BTreeMap<(u8, bool), &'a str>,
    large: BTreeMap<u32, u32>,
    orders: Vec<Order>,
}

const CHECK: &str = r#"
expected = {
    'none': None, 'some': 1, 'nothing': None, 'unit': None, 'bools': (True, False),
    'ints': (127, 32767, 2**31 - 1, 2**63 - 1, 255, 65535, 2**32 - 1, 2**64 - 1),
    'lowest': (-128, -32768, -2**31, -2**63), 'floats': (0.5, 1e300),
    'letter': '\u00df', 'text': 'h\u00e9 \\ \n \0 \U0001f600', 'long_text': '\u00e4' * 70000,
    'bytes': bytes(range(256)), 'long_bytes': b'\x80' * 70000, 'numbers': [0, 128, 255],
    'long': list(range(2500)), 'empty': [],
    'tuples': ((1,), (1, 2, 3, 4)), 'newtype': 9, 'pair': (1, 2),
    'map': {(1, True): 'x', (2, False): 'y'}, 'large': {n: n * n for n in range(2500)},
    'orders': ['Stop', {'Move': -5}, {'Line': [1, 2]}, {'Turn': {'by': 0.5}}],
}
value = connection.recv()
for name in expected:
    # repr, since True == 1 == 1.0.
    if repr(value[name]) != repr(expected[name]):
        connection.send('%s: %.200r' % (name, value[name]))
        break
else:
    connection.send('equal' if value == expected else 'more: %r' % (value.keys(),))
"#;

#[test]
fn what_we_send_is_what_python_would_have_made_in_every_version() {
    let all: Vec<u8> = (0..=255).collect();
    let sent = Sent {
        none: None,
        some: Some(1),
        nothing: (),
        unit: Unit,
        bools: (true, false),
        ints: (
            i8::MAX,
            i16::MAX,
            i32::MAX,
            i64::MAX,
            u8::MAX,
            u16::MAX,
            u32::MAX,
            u64::MAX,
        ),
        lowest: (i8::MIN, i16::MIN, i32::MIN, i64::MIN),
        floats: (0.5, 1e300),
        letter: 'ß',
        text: "hé \\ \n \0 \u{1f600}",
        long_text: "ä".repeat(70_000),
        bytes: serde_bytes::Bytes::new(&all),
        long_bytes: ByteBuf::from(vec![0x80; 70_000]),
        numbers: vec![0, 128, 255],
        long: (0..2500).collect(),
        empty: vec![],
        tuples: ((1,), (1, 2, 3, 4)),
        newtype: Newtype(9),
        pair: Pair(1, 2),
        map: [((1, true), "x"), ((2, false), "y")].into(),
        large: (0..2500).map(|n| (n, n * n)).collect(),
        orders: vec![
            Order::Stop,
            Order::Move(-5),
            Order::Line(1, 2),
            Order::Turn { by: 0.5 },
        ],
    };
    for python in interpreters() {
        let (mut child, connection) = start::<Sent, String>(&python, CHECK);
        connection.send(&sent).unwrap();
        assert_eq!(connection.recv().unwrap(), "equal", "{python:?}");
        assert!(child.wait().unwrap().success());
    }
}

/// Sends what is no plain data, each followed by something that is.
const STRANGE: &str = r#"
import pickle, os, datetime, functools
class Own:
    def __reduce__(self):
        return os.system, ('false',)
recursive = []
recursive.append(recursive)
through = ([],)
through[0].append(through)
deep = []
for _ in range(300):
    deep = [deep]
for strange in [2**128, -2**127 - 1, '\ud800', recursive, through, deep, datetime.timedelta(1), os.system, Own(), 1j, set, ['x' * 5000] * 50000]:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        connection.send_bytes(pickle.dumps(strange, protocol))
        connection.send('next')
"#;

#[test]
fn what_is_no_plain_data_is_an_error_and_the_next_message_arrives() {
    for python in interpreters() {
        let (mut child, connection) = start::<(), Any>(&python, STRANGE);
        let protocols = if ["3.6", "3.7"].contains(&&*python.version) {
            5
        } else {
            6
        };
        let expect = |what: &str, fits: fn(&PickleError) -> bool| {
            for protocol in 0..protocols {
                let error = reason(connection.recv().unwrap_err());
                assert!(
                    fits(&error),
                    "{python:?}, protocol {protocol}, {what}: {error:?}"
                );
                assert_eq!(connection.recv().unwrap(), Any::Text("next".into()));
            }
        };
        expect("2**128", |e| matches!(e, PickleError::IntTooLarge { .. }));
        expect("-2**127-1", |e| {
            matches!(e, PickleError::IntTooLarge { .. })
        });
        expect("surrogate", |e| matches!(e, PickleError::NotUtf8 { .. }));
        expect("list in itself", |e| matches!(e, PickleError::Recursive));
        expect("tuple in itself", |e| matches!(e, PickleError::Recursive));
        expect("300 levels", |e| matches!(e, PickleError::TooDeep));
        expect(
            "timedelta",
            |e| matches!(e, PickleError::Class { name } if name == "datetime.timedelta"),
        );
        expect(
            "a function",
            |e| matches!(e, PickleError::Class { name } if name == "posix.system"),
        );
        expect(
            "a call",
            |e| matches!(e, PickleError::Class { name } if name == "posix.system"),
        );
        expect(
            "complex",
            |e| matches!(e, PickleError::Class { name } if name.ends_with(".complex")),
        );
        expect(
            "set itself",
            |e| matches!(e, PickleError::Class { name } if name == "builtins.set"),
        );
        expect("the same again and again", |e| {
            matches!(e, PickleError::Unfolds { .. })
        });
        assert!(matches!(connection.recv(), Err(RecvError::Closed)));
        assert!(child.wait().unwrap().success());
    }
}
