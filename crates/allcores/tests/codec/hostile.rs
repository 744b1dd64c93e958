//! Pickles that no Python would write, or only a malicious one.

use std::collections::{BTreeMap, HashMap};

use allcores::multiprocessing::connection::codec::{Codec, Compact, Pickle, PickleError};
use allcores::multiprocessing::connection::{RecvError, SendError};
use allcores::multiprocessing::transfer::TransferError;
use allcores::multiprocessing::{Connection, Lock};
use allcores::multiprocessing::{Pipe, SimplexPipe};
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::any::Any;
use crate::memory::most_during;

fn error<T: DeserializeOwned>(pickle: &[u8]) -> PickleError {
    let error = Pickle::decode::<T>(pickle).map(drop).unwrap_err();
    let error = error.get_ref().downcast_ref::<PickleError>();
    error.expect("the pickle's own error").clone()
}

/// Decodes on a thread with little stack, and tells the error.
fn error_on_little_stack(pickle: Vec<u8>) -> PickleError {
    std::thread::Builder::new()
        .stack_size(256 << 10)
        .spawn(move || error::<IgnoredAny>(&pickle))
        .unwrap()
        .join()
        .unwrap()
}

#[test]
fn nesting_is_bounded() {
    let nested = |levels: usize| [&b"N"[..], &vec![0x85; levels], b"."].concat();
    assert_eq!(
        error_on_little_stack(nested(1_000_000)),
        PickleError::TooDeep
    );
    assert_eq!(error::<Any>(&nested(129)), PickleError::TooDeep);
    let mut most = Pickle::decode::<Any>(&nested(128)).unwrap();
    for _ in 0..128 {
        let Any::Seq(mut items) = most else {
            panic!("{most:?}");
        };
        most = items.pop().unwrap();
    }
    assert_eq!(most, Any::None);

    // Every kind of container.
    let lists = [vec![b']'; 1_000], vec![b'a'; 999], vec![b'.']].concat();
    assert_eq!(error_on_little_stack(lists), PickleError::TooDeep);
    let mut dicts = Vec::new();
    (0..1_000).for_each(|_| dicts.extend(b"}N"));
    dicts.push(b'N');
    dicts.extend(vec![b's'; 1_000]);
    dicts.push(b'.');
    assert_eq!(error_on_little_stack(dicts), PickleError::TooDeep);
    let mut tuples = b"(".repeat(1_000);
    tuples.extend(vec![b't'; 1_000]);
    tuples.push(b'.');
    assert_eq!(error_on_little_stack(tuples), PickleError::TooDeep);
    let mut sets = b"(".repeat(1_000);
    sets.extend(vec![0x91; 1_000]);
    sets.push(b'.');
    assert_eq!(error_on_little_stack(sets), PickleError::TooDeep);
}

#[derive(serde::Serialize, serde::Deserialize)]
enum Tree {
    Leaf,
    One(Box<Tree>),
    Many(Vec<Tree>),
    Named { tree: Option<Box<Tree>> },
    Wrapped(Wrapped),
    Mapped(HashMap<u8, Tree>),
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Wrapped(Box<Tree>);

#[test]
fn a_peer_does_not_choose_how_much_stack_a_value_takes() {
    // One variant in the other, by its number; `1` in between where there is more than one level to each.
    for (name, level, levels) in [
        ("newtype variants", &[1u8][..], 1),
        ("sequences", &[2, 1], 2),
        ("struct variants", &[3, 1], 2),
        ("newtypes", &[4], 2),
    ] {
        let nested = |depth: usize| [&level.repeat(depth)[..], &[0]].concat();
        let error = Compact::decode::<Tree>(&nested(3_000_000))
            .map(drop)
            .unwrap_err();
        assert!(error.to_string().contains("256 levels"), "{name}: {error}");
        // What may be taken fits into the stack of a thread; the leaf is a level, too.
        let most = 255 / levels;
        assert!(Compact::decode::<Tree>(&nested(most)).is_ok(), "{name}");
        assert!(
            Compact::decode::<Tree>(&nested(most + 1)).is_err(),
            "{name}"
        );
    }
}

#[test]
fn a_peer_does_not_choose_how_much_memory_its_lengths_reserve() {
    // A sequence of very many sequences of very many …, and the same with maps, whose keys take a byte.
    for level in [
        &[2, 0xff, 0xff, 0xff, 0x7f][..],
        &[5, 0xff, 0xff, 0xff, 0x7f, 0],
    ] {
        let message = level.repeat(120);
        let (peak, result) = most_during(|| Compact::decode::<Tree>(&message).map(drop));
        assert!(result.is_err());
        assert!(peak < 16 << 20, "{level:?}: {peak} bytes");
    }
}

#[test]
fn a_peer_does_not_choose_how_long_nothing_is_counted() {
    let length = Compact::encode(&u64::MAX, Vec::new()).unwrap();
    for error in [
        Compact::decode::<Vec<()>>(&length).map(drop).unwrap_err(),
        Compact::decode::<Vec<[u8; 0]>>(&length)
            .map(drop)
            .unwrap_err(),
        Compact::decode::<BTreeMap<(), ()>>(&length)
            .map(drop)
            .unwrap_err(),
    ] {
        assert!(error.to_string().contains("items"), "{error}");
    }
    // Many items that take bytes, and fields that do not, are in order.
    let many = vec![(1u8, (), (), ()); 500_000];
    let message = Compact::encode(&many, Vec::new()).unwrap();
    assert_eq!(
        Compact::decode::<Vec<(u8, (), (), ())>>(&message).unwrap(),
        many
    );
}

/// What unfolds when everything that is mentioned again is written out.
fn bombs() -> Vec<(&'static str, Vec<u8>)> {
    let mut laughs = b"X\x03\0\0\0lolq\0".to_vec();
    for level in 0..30u8 {
        laughs.push(b'(');
        (0..10).for_each(|_| laughs.extend([b'h', level]));
        laughs.extend([b't', b'q', level + 1]);
        laughs.push(b'(');
    }
    laughs.extend(b"h\x1e.");

    // A message of 200 KB: one text, mentioned 50,000 times.
    let mut again = b"](X\xa0\x86\x01\0".to_vec();
    again.extend(vec![b'x'; 100_000]);
    again.extend(b"q\0");
    (0..50_000).for_each(|_| again.extend(b"h\0"));
    again.extend(b"e.");

    // The same, by calls that make bytes of it, most of which are left lying about.
    let mut calls = b"c_codecs\nencode\nq\0X\xa0\x86\x01\0".to_vec();
    calls.extend(vec![b'x'; 100_000]);
    calls.extend(b"q\x01X\x06\0\0\0latin1q\x02");
    (0..10_000).for_each(|_| calls.extend(b"h\0h\x01h\x02\x86R"));
    calls.push(b'.');
    vec![("laughs", laughs), ("again", again), ("calls", calls)]
}

#[test]
fn what_unfolds_out_of_proportion_is_refused_before_it_does() {
    for (name, bomb) in bombs() {
        let (peak, error) = most_during(|| error::<Any>(&bomb));
        assert!(
            matches!(error, PickleError::Unfolds { .. }),
            "{name}: {error:?}"
        );
        assert!(peak < 64 * bomb.len() + (17 << 20), "{name}: {peak} bytes");
    }
}

#[test]
fn memory_is_in_proportion_to_the_bytes_that_came() {
    let times = 200_000;
    for (name, pickle) in [
        ("marks", b"(".repeat(times)),
        ("lists", b"]".repeat(times)),
        ("dicts", b"}".repeat(times)),
        ("tuples", b"(t".repeat(times)),
        ("nothing", b"N".repeat(times)),
        ("memo", b"Nr\xff\xff\xff\xff".repeat(times)),
        (
            "rows",
            [&b"]("[..], &b"(NNNNt".repeat(times), b"e."].concat(),
        ),
        ("twice", b"2".repeat(times)),
        ("half", [&b"]("[..], &b"]".repeat(times)].concat()),
    ] {
        let (peak, _) = most_during(|| Pickle::decode::<IgnoredAny>(&pickle).map(drop));
        // A value takes a node and two numbers; vectors that grow take three times their size.
        assert!(
            peak <= 200 * pickle.len(),
            "{name}: {peak} bytes of {}",
            pickle.len()
        );
    }
}

#[test]
fn lengths_are_believed_as_far_as_the_message_goes() {
    let many = u64::MAX.to_le_bytes();
    for (opcode, length) in [
        (b'X', &many[..4]),
        (b'B', &many[..4]),
        (b'T', &many[..4]),
        (0x8b, &[0xff, 0xff, 0xff, 0x7f]),
        (0x8c, &many[..1]),
        (b'C', &many[..1]),
        (b'U', &many[..1]),
        (0x8a, &many[..1]),
        (0x8d, &many),
        (0x8e, &many),
        (0x96, &many),
        (0x95, &many),
        (0x8d, &(isize::MAX as u64).to_le_bytes()),
    ] {
        let pickle = [&[opcode], length, b"abc."].concat();
        let (peak, error) = most_during(|| error::<IgnoredAny>(&pickle));
        assert!(
            matches!(error, PickleError::CutOff { .. }),
            "{opcode:#x}: {error:?}"
        );
        assert!(peak < 4096, "{opcode:#x}: {peak} bytes");
    }
    assert!(matches!(
        error::<IgnoredAny>(b"\x8b\xff\xff\xff\xffabc."),
        PickleError::Broken { .. }
    ));
}

#[test]
fn broken_programs_are_errors() {
    for (pickle, expected) in [
        (&b""[..], "cut off"),
        (b".", "missing"),
        (b"N", "cut off"),
        (b"NN.", "more than one"),
        (b"(N.", "more than one"),
        (b"N.N", "1 bytes follow"),
        (b"(N(.", "missing"),
        (b"](a.", "missing"),
        (b"N(a.", "missing"),
        (b"NN(\x86t.", "missing"),
        (b"]NN(e.", "takes no such thing"),
        (b"NNa.", "takes no such thing"),
        (b"}(Nu.", "without a value"),
        (b"(Nd.", "without a value"),
        (b"](Nu.", "takes no such thing"),
        (b")(Ne.", "takes no such thing"),
        (b"\x8f(Ne.", "takes no such thing"),
        (b"e.", "mark is missing"),
        (b"h\0.", "never there"),
        (b"g-1\n.", "number is none"),
        (b"q\0N.", "missing"),
        (b"I\n.", "int is none"),
        (b"I0x1\n.", "int is none"),
        (b"Lx\n.", "int is none"),
        (b"Fx\n.", "float is none"),
        (b"I1", "cut off"),
        (b"V\\ud800\n.", "UTF-8"),
        (b"X\x01\0\0\0\xff.", "UTF-8"),
        (b"U\x01\xff.", "UTF-8"),
        (b"\x80\x06N.", "protocol 6"),
        (b"NR.", "missing"),
        (b"N)R.", "no function"),
        (b"cbuiltins\nset\nNR.", "no tuple"),
        (b"cbuiltins\nset\nN\x85R.", "arguments"),
        (b"cbuiltins\nset\n]]\x86R.", "arguments"),
        (
            b"c_codecs\nencode\nX\x02\0\0\0\xc4\x80X\x06\0\0\0latin1\x86R.",
            "bytes are none",
        ),
        (
            b"c_codecs\nencode\nX\x00\0\0\0X\x04\0\0\0utf8\x86R.",
            "arguments",
        ),
        (b"NN\x93.", "name is no str"),
        (b"](cbuiltins\nset\ne.", "builtins.set"),
        (b"cos\nsystem\nX\x04\0\0\0true\x85R.", "os.system"),
        (b"cos\nsystem\n)\x81}b.", "os.system"),
    ] {
        let error = error::<IgnoredAny>(pickle).to_string();
        assert!(error.contains(expected), "{pickle:?}: {error}");
    }
}

#[test]
fn plain_data_of_another_type_is_an_error_that_says_what_was_wanted() {
    fn refused<T: DeserializeOwned>(pickle: &[u8], expected: &str) {
        match error::<T>(pickle) {
            PickleError::Value(error) => {
                assert!(error.contains(expected), "{pickle:?}: {error}");
            }
            other => panic!("{pickle:?}: {other:?}"),
        }
    }
    refused::<(u8, u8)>(
        b"K\x01K\x02K\x03\x87.",
        "invalid length 3, expected 2 items",
    );
    refused::<(u8, u8)>(b"K\x01\x85.", "invalid length 1");
    refused::<[u8; 2]>(b"C\x03abc.", "invalid length 3");
    refused::<u8>(b"M\0\x01.", "256");
    refused::<u8>(b"J\xff\xff\xff\xff.", "-1");
    refused::<u64>(b"\x8a\x09\0\0\0\0\0\0\0\0\x01.", "18446744073709551616");
    refused::<u8>(b"N.", "unit value, expected u8");
    refused::<bool>(b"K\x01.", "integer `1`, expected a boolean");
    refused::<String>(b"C\x01\xff.", "byte array");
    refused::<()>(b"N\x85.", "sequence");
    refused::<char>(b"X\x02\0\0\0ab.", "a character");
    refused::<Vec<u8>>(b"}.", "map");
    refused::<BTreeMap<u8, u8>>(b"].", "sequence");
    refused::<Tree>(b"X\x04\0\0\0Twig.", "unknown variant `Twig`");
    refused::<Tree>(b"X\x04\0\0\0Many.", "for a variant with data");
    refused::<Tree>(b"}(X\x04\0\0\0LeafK\x01u.", "for a variant without data");
    refused::<Tree>(b"}(X\x04\0\0\0LeafNX\x04\0\0\0ManyNu.", "for an enum");
    refused::<Tree>(b"K\x01.", "for an enum");
}

#[test]
fn instructions_that_make_objects_or_nothing_known_are_refused() {
    // pop, pop_mark, dup, persid, binpersid, build, inst, obj, newobj, newobj_ex, ext1, ext2, ext4, string, next_buffer,
    // readonly_buffer.
    let makers = b"012PQbio\x81\x92\x82\x83\x84S\x97\x98";
    let known = b"(.IJKMLNFGTUVXBC]lae)t}dsughjpqrcR\
        \x8a\x8b\x88\x89\x8c\x8d\x8e\x96\x85\x86\x87\x8f\x90\x91\x94\x93\x80\x95";
    for opcode in 0..=255 {
        let pickle = [b'N', opcode];
        let decoded = Pickle::decode::<IgnoredAny>(&pickle);
        let refused = decoded.is_err_and(|error| {
            let error = error.get_ref().downcast_ref::<PickleError>();
            error == Some(&PickleError::Opcode { opcode, at: 1 })
        });
        assert_eq!(refused, !known.contains(&opcode), "{opcode:#x}");
        assert!(refused || !makers.contains(&opcode));
    }
}

#[test]
fn a_structure_may_be_mentioned_again_but_not_changed_after_that() {
    // a = []; (a, a)
    assert_eq!(
        Pickle::decode::<((), ())>(b"]q\0h\0\x86.").unwrap(),
        ((), ())
    );
    // a = []; a.append(a)
    assert_eq!(error::<Any>(b"]q\0h\0a."), PickleError::Recursive);
    // d = {}; d[1] = d
    assert_eq!(error::<Any>(b"}q\0K\x01h\0s."), PickleError::Recursive);
    // A list that changes after it has become part of a tuple.
    assert_eq!(error::<Any>(b"]q\0\x85h\0Na."), PickleError::Recursive);
}

#[test]
fn handles_do_not_travel_in_pickles() {
    let barred = |error: &TransferError| {
        assert_eq!(error, &TransferError::NotInCodec { codec: "Pickle" });
        assert!(error.to_string().contains("Compact"), "{error}");
    };
    let (a, b) = Pipe::<Vec<Lock<u64>>, Vec<Connection<(), ()>>>().unwrap();
    let (a, b) = (a.with_codec::<Pickle>(), b.with_codec::<Pickle>());
    match a.send(&vec![Lock::new(1).unwrap()]) {
        Err(SendError::Transfer(error)) => barred(&error),
        other => panic!("{other:?}"),
    }
    match b.send(&vec![Pipe().unwrap().0]) {
        Err(SendError::Transfer(error)) => barred(&error),
        other => panic!("{other:?}"),
    }
    // Nothing was sent, and nothing is broken.
    a.send(&vec![]).unwrap();
    b.send(&vec![]).unwrap();
    assert!(b.recv().unwrap().is_empty() && a.recv().unwrap().is_empty());

    // A peer that writes what a handle looks like.
    let numbers = Pickle::encode(&[0u32], Vec::new()).unwrap();
    b.send_bytes(&numbers).unwrap();
    match a.recv() {
        Err(RecvError::Transfer(error)) => barred(&error),
        other => panic!("{other:?}"),
    }
    // A handle that was good on its way over a pipe, in the other codec.
    type Wire = (([u8; 16], u32, u32, u32, (u32, u32)), Option<u32>);
    let (reader, writer) = SimplexPipe::<Lock<u64>>().unwrap();
    let lock = Lock::new(1).unwrap();
    writer.send(&lock).unwrap();
    let wire = Compact::decode::<Wire>(&reader.recv_bytes().unwrap()).unwrap();
    a.send_bytes(&Pickle::encode(&[wire], Vec::new()).unwrap())
        .unwrap();
    match b.recv() {
        Err(RecvError::Transfer(error)) => barred(&error),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_has_no_form_as_a_pickle_is_an_error() {
    let (a, b) = Pipe::<i128, u8>().unwrap();
    let a = a.with_codec::<Pickle>();
    let error = a.send(&1).unwrap_err();
    let SendError::Encode { of: "i128", reason } = &error else {
        panic!("{error:?}");
    };
    assert!(reason.to_string().contains("i128"), "{reason}");
    drop(b);
}
