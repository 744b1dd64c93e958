//! Values and bytes, ends and errors.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use allcores::multiprocessing::connection::{BufferTooShort, RecvError, RecvIntoError, SendError};
use allcores::multiprocessing::{Connection, Pipe, SimplexPipe, wait};

use crate::util::raw;

#[test]
fn values_go_both_ways() {
    let (a, b) = Pipe::<(u32, String), Vec<f64>>().unwrap();
    a.send(&(7, "seven".into())).unwrap();
    assert_eq!(b.recv().unwrap(), (7, "seven".to_owned()));
    b.send(&vec![1.5, -2.0]).unwrap();
    assert_eq!(a.recv().unwrap(), [1.5, -2.0]);
}

#[test]
fn a_one_way_pipe_goes_one_way() {
    let (reader, writer) = SimplexPipe::<String>().unwrap();
    writer.send(&"there".into()).unwrap();
    writer.send_bytes(b"").unwrap();
    assert_eq!(reader.recv().unwrap(), "there");
    assert_eq!(reader.recv_bytes().unwrap(), b"");
    drop(writer);
    assert!(matches!(reader.recv(), Err(RecvError::Closed)));
}

#[test]
fn every_size_round_a_boundary_arrives_whole() {
    let (a, b) = Pipe::<(), ()>().unwrap();
    for size in [
        0,
        1,
        3,
        4,
        5,
        16_383,
        16_384,
        16_385,
        1 << 20,
        (1 << 20) + 1,
        5 << 20,
    ] {
        let sent: Vec<u8> = (0..size).map(|i: usize| (i % 251) as u8).collect();
        std::thread::scope(|scope| {
            scope.spawn(|| a.send_bytes(&sent).unwrap());
            assert!(
                b.recv_bytes().unwrap() == sent,
                "a message of {size} bytes changed"
            );
        });
    }
}

#[test]
fn what_is_just_short_enough_is_received() {
    let (a, b) = Pipe::<(), ()>().unwrap();
    a.send_bytes(b"hello").unwrap();
    assert_eq!(b.recv_bytes_max(5).unwrap(), b"hello");
}

#[test]
fn a_buffer_takes_a_message_or_the_error_carries_it() {
    let (a, b) = Pipe::<(), ()>().unwrap();
    let mut buffer = *b"........";
    a.send_bytes(b"hello").unwrap();
    assert_eq!(b.recv_bytes_into(&mut buffer).unwrap(), 5);
    assert_eq!(&buffer, b"hello...");

    a.send_bytes(b"much too long").unwrap();
    a.send_bytes(b"next").unwrap();
    match b.recv_bytes_into(&mut buffer) {
        Err(RecvIntoError::BufferTooShort(BufferTooShort { message, room })) => {
            assert_eq!((&message[..], room), (&b"much too long"[..], 8));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(&buffer, b"hello...");
    assert_eq!(b.recv_bytes_into(&mut buffer).unwrap(), 4);
    assert!(matches!(
        {
            drop(a);
            b.recv_bytes_into(&mut buffer)
        },
        Err(RecvIntoError::Recv(RecvError::Closed))
    ));
}

#[test]
fn half_a_connection_goes_on() {
    let (ours, mut theirs) = raw();
    theirs.shutdown(Shutdown::Write).unwrap();
    assert!(matches!(ours.recv(), Err(RecvError::Closed)));
    ours.send_bytes(b"still").unwrap();
    let mut bytes = [0; 9];
    theirs.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes[4..], b"still");
}

#[test]
fn sending_to_nobody_is_an_error_and_no_signal() {
    let (a, b) = Pipe::<u8, u8>().unwrap();
    drop(b);
    assert!(matches!(a.send(&1), Err(SendError::Closed)));
    let (reader, writer) = SimplexPipe::<u8>().unwrap();
    drop(reader);
    assert!(matches!(writer.send(&1), Err(SendError::Closed)));
}

#[test]
fn unread_messages_at_the_far_end_do_not_hide_its_own() {
    let (a, b) = Pipe::<u8, u8>().unwrap();
    a.send(&1).unwrap();
    b.send(&2).unwrap();
    drop(b);
    assert_eq!(a.recv().unwrap(), 2);
    assert!(matches!(a.recv(), Err(RecvError::Closed)));
}

#[test]
fn the_wrong_type_is_a_decode_error_and_the_next_message_is_fine() {
    let (ours, mut theirs) = raw();
    theirs.write_all(b"\0\0\0\x02\x05h").unwrap();
    theirs.write_all(b"\0\0\0\x03\x01hi").unwrap();
    theirs.write_all(b"\0\0\0\x02\x01h").unwrap();
    let error = ours.recv().unwrap_err();
    assert!(matches!(error, RecvError::Decode { .. }), "{error:?}");
    assert!(error.to_string().contains("String"), "{error}");
    assert!(
        matches!(ours.recv(), Err(RecvError::Decode { .. })),
        "a byte is left over"
    );
    assert_eq!(ours.recv().unwrap(), "h");
}

#[test]
fn messages_of_two_threads_do_not_mix() {
    let (a, b) = Pipe::<(), ()>().unwrap();
    std::thread::scope(|scope| {
        for letter in [b'a', b'b', b'c'] {
            let a = &a;
            scope.spawn(move || {
                for size in [10, 300_000, 1] {
                    a.send_bytes(&vec![letter; size]).unwrap();
                }
            });
        }
        let readers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..3 {
                        let message = b.recv_bytes().unwrap();
                        assert!(message.iter().all(|byte| *byte == message[0]));
                    }
                })
            })
            .collect();
        readers
            .into_iter()
            .for_each(|reader| reader.join().unwrap());
    });
}

#[test]
fn a_non_blocking_descriptor_blocks_all_the_same() {
    let (ours, theirs) = raw();
    theirs.set_nonblocking(true).unwrap();
    let theirs = Connection::<String, String>::from_fd(theirs.into()).unwrap();
    let long = "x".repeat(2_000_000);
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| theirs.send(&long));
        assert_eq!(ours.recv().unwrap(), long);
        sender.join().unwrap().unwrap();
    });
}

#[test]
fn poll_and_wait_see_messages_and_ends() {
    let (a, b) = Pipe::<u8, u8>().unwrap();
    let (reader, writer) = SimplexPipe::<u8>().unwrap();
    let moment = Duration::from_millis(1);
    assert!(!b.poll().unwrap());
    assert!(!b.poll_timeout(moment).unwrap());
    assert!(wait(&[&b, &reader], moment).unwrap().is_empty());
    a.send(&1).unwrap();
    assert!(b.poll().unwrap() && b.poll_timeout(None).unwrap());
    assert_eq!(wait(&[&reader, &b], None).unwrap(), [1]);
    drop(writer);
    assert_eq!(wait(&[&reader, &b], None).unwrap(), [0, 1]);
    b.recv().unwrap();
    assert!(!b.poll().unwrap());
    drop(a);
    assert!(b.poll().unwrap(), "the end of the stream can be received");
    assert!(wait(&[], None).unwrap().is_empty());
}

#[test]
fn poll_wakes_up_for_a_message() {
    let (a, b) = Pipe::<u8, u8>().unwrap();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| (b.poll_timeout(None).unwrap(), b.recv().unwrap()));
        a.send(&9).unwrap();
        assert_eq!(waiter.join().unwrap(), (true, 9));
    });
}

#[test]
fn only_channels_make_connections() {
    let file = std::fs::File::open("/dev/null").unwrap();
    let error = Connection::<u8, u8>::from_fd(file.into()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
}
