//! Raw bytes on the wire.

use std::io::{Read, Write};
use std::os::fd::AsFd;

use allcores::multiprocessing::connection::RecvError;

use crate::util::raw;

/// Returns once everything that was written towards `reader` has been read from it.
fn until_taken(reader: impl AsFd) {
    let mut byte = [0];
    let flags = rustix::net::RecvFlags::PEEK | rustix::net::RecvFlags::DONTWAIT;
    while rustix::net::recv(&reader, &mut byte, flags).is_ok() {
        std::thread::yield_now();
    }
}

#[test]
fn the_wire_is_cpythons() {
    let (ours, mut theirs) = raw();
    ours.send_bytes(b"hello").unwrap();
    let mut bytes = [0; 9];
    theirs.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"\0\0\0\x05hello");

    // A long header is for large messages, but legal for small ones.
    theirs
        .write_all(b"\xff\xff\xff\xff\0\0\0\0\0\0\0\x03abc")
        .unwrap();
    assert_eq!(ours.recv_bytes().unwrap(), b"abc");
}

#[test]
fn a_frame_may_come_in_two_pieces_split_anywhere() {
    let (ours, mut theirs) = raw();
    for bytes in [
        &b"\0\0\0\x05hello"[..],
        b"\xff\xff\xff\xff\0\0\0\0\0\0\0\x05hello",
    ] {
        for split in 1..bytes.len() {
            std::thread::scope(|scope| {
                let reader = scope.spawn(|| ours.recv_bytes());
                theirs.write_all(&bytes[..split]).unwrap();
                until_taken(&ours);
                theirs.write_all(&bytes[split..]).unwrap();
                assert_eq!(
                    reader.join().unwrap().unwrap(),
                    b"hello",
                    "split at {split}"
                );
            });
        }
    }
}

#[test]
fn what_follows_a_large_message_is_another() {
    // There may be more room for the first than it takes. Written at once, so that its end and the next come together.
    for size in [1_000, (1 << 20) - 1, (1 << 20) + 1, 3_000_000, 5_000_000] {
        let (ours, mut theirs) = raw();
        let large = vec![7; size];
        let header = (size as u32).to_be_bytes();
        let all = [&header[..], &large, b"\0\0\0\x04next"].concat();
        std::thread::scope(|scope| {
            scope.spawn(move || theirs.write_all(&all).unwrap());
            assert!(ours.recv_bytes().unwrap() == large, "{size} bytes");
            assert_eq!(ours.recv_bytes().unwrap(), b"next");
        });
    }
}

#[test]
fn a_stream_that_ends_inside_a_frame_is_an_error_and_between_two_is_not() {
    for bytes in [
        &b"\0\0\0\x05hello"[..],
        b"\xff\xff\xff\xff\0\0\0\0\0\0\0\x05hello",
    ] {
        for length in 0..bytes.len() {
            let (ours, mut theirs) = raw();
            theirs.write_all(&bytes[..length]).unwrap();
            drop(theirs);
            let received = ours.recv_bytes();
            if length == 0 {
                assert!(matches!(received, Err(RecvError::Closed)), "{received:?}");
            } else {
                assert!(
                    matches!(received, Err(RecvError::Truncated { missing }) if missing > 0),
                    "{length} bytes: {received:?}"
                );
                assert!(matches!(ours.recv_bytes(), Err(RecvError::OutOfStep)));
            }
        }
    }
}

#[test]
fn negative_and_impossible_lengths_are_refused() {
    for (bytes, wanted) in [
        (&(-2i32).to_be_bytes()[..], "-2"),
        (&i32::MIN.to_be_bytes(), "-2147483648"),
        (&[0xff; 12], "18446744073709551615"),
    ] {
        let (ours, mut theirs) = raw();
        theirs.write_all(bytes).unwrap();
        let error = ours.recv_bytes().unwrap_err();
        assert!(
            matches!(
                error,
                RecvError::BadHeader { .. } | RecvError::TooLong { .. }
            ),
            "{error:?}"
        );
        assert!(error.to_string().contains(wanted), "{error}");
        assert!(matches!(ours.recv_bytes(), Err(RecvError::OutOfStep)));
    }
}

#[test]
fn what_is_too_long_is_refused_unread() {
    let (ours, mut theirs) = raw();
    theirs.write_all(b"\0\0\0\x05hello").unwrap();
    let error = ours.recv_bytes_max(4).unwrap_err();
    assert!(
        matches!(error, RecvError::TooLong { length: 5, most: 4 }),
        "{error:?}"
    );
    let mut rest = [0; 8];
    let taken = rustix::net::recv(&ours, &mut rest, rustix::net::RecvFlags::DONTWAIT)
        .unwrap()
        .0;
    assert_eq!(&rest[..taken], b"hello");
    assert!(matches!(
        ours.recv_bytes_max(100),
        Err(RecvError::OutOfStep)
    ));
    // The other direction lives.
    ours.send_bytes(b"x").unwrap();
    let mut bytes = [0; 5];
    theirs.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"\0\0\0\x01x");
}
