//! Messages under a deadline, and bare descriptors.

use std::io::{Read, Write};
use std::time::Duration;

use allcores::multiprocessing::connection::{RecvError, SendError};
use allcores::multiprocessing::transfer::TransferError;
use allcores::multiprocessing::{Connection, Pipe, SimplexPipe};

use crate::util::{LONG, SHORT, raw};

#[test]
fn nothing_in_time_is_none_and_the_next_message_is_fine() {
    let (a, b) = Pipe::<u8, u8>().unwrap();
    let (reader, writer) = SimplexPipe::<u8>().unwrap();
    for timeout in [Duration::ZERO, SHORT] {
        assert_eq!(b.recv_timeout(timeout).unwrap(), None);
        assert_eq!(reader.recv_timeout(timeout).unwrap(), None);
        assert_eq!(b.recv_bytes_timeout(9, timeout).unwrap(), None);
    }
    a.send_timeout(&1, LONG).unwrap();
    writer.send_timeout(&2, LONG).unwrap();
    for timeout in [Duration::ZERO, LONG] {
        assert_eq!(b.recv_timeout(timeout).unwrap(), Some(1));
        assert_eq!(reader.recv_timeout(timeout).unwrap(), Some(2));
        a.send_bytes_timeout(&[1], LONG).unwrap();
        writer.send_bytes_timeout(&[2], LONG).unwrap();
    }
    assert_eq!(b.recv_bytes_timeout(1, LONG).unwrap(), Some(vec![1]));
    drop((a, writer));
    assert!(matches!(b.recv_timeout(LONG), Err(RecvError::Closed)));
    assert_eq!(reader.recv_timeout(LONG).unwrap(), Some(2));
    assert!(matches!(reader.recv_timeout(LONG), Err(RecvError::Closed)));
}

#[test]
fn half_a_message_in_time_is_too_slow() {
    for (bytes, wanted) in [
        (&b"\0"[..], 3),
        (b"\xff\xff\xff\xff\0", 7),
        (b"\0\0\0\x05", 5),
        (b"\0\0\0\x05hell", 1),
    ] {
        let (ours, mut theirs) = raw();
        theirs.write_all(bytes).unwrap();
        match ours.recv_timeout(SHORT) {
            Err(RecvError::TooSlow { missing }) => assert_eq!(missing, wanted),
            other => panic!("{other:?}"),
        }
        theirs.write_all(b"o\0\0\0\x01x").unwrap();
        assert!(matches!(ours.recv_timeout(LONG), Err(RecvError::OutOfStep)));
        // The other direction lives.
        ours.send_bytes(b"x").unwrap();
    }
}

#[test]
fn a_slow_drip_does_not_stretch_the_deadline() {
    let (ours, mut theirs) = raw();
    // Begun before it is waited for: on a busy machine the other thread may come too late for that.
    theirs.write_all(&1000u32.to_be_bytes()).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // Each byte comes soon, all of them would take longer than is allowed.
            for _ in 0..1000 {
                std::thread::sleep(SHORT / 10);
                if theirs.write_all(b"x").is_err() {
                    return;
                }
            }
        });
        let received = ours.recv_bytes_timeout(1000, SHORT);
        assert!(
            matches!(received, Err(RecvError::TooSlow { .. })),
            "{received:?}"
        );
        drop(ours);
    });
}

#[test]
fn a_large_message_passes_under_a_deadline() {
    let sent: Vec<u8> = (0..3_000_000).map(|i: u32| (i % 251) as u8).collect();
    let (a, b) = Pipe::<(), ()>().unwrap();
    let (reader, writer) = SimplexPipe::<()>().unwrap();
    let writer: Connection<(), ()> = Connection::from_fd(writer.into()).unwrap();
    std::thread::scope(|scope| {
        for sender in [a, writer] {
            let sent = &sent;
            scope.spawn(move || sender.send_bytes_timeout(sent, LONG).unwrap());
        }
        let most = sent.len();
        assert!(b.recv_bytes_timeout(most, LONG).unwrap().unwrap() == sent);
        assert!(reader.recv_bytes_timeout(most, LONG).unwrap().unwrap() == sent);
    });
}

#[test]
fn a_peer_that_does_not_read_does_not_hold_us_up() {
    let (a, b) = Pipe::<(), ()>().unwrap();
    let (reader, writer) = SimplexPipe::<()>().unwrap();
    let writer: Connection<(), ()> = Connection::from_fd(writer.into()).unwrap();
    for (sender, receiver) in [(&a, &b as &dyn std::any::Any), (&writer, &reader)] {
        // Large enough to be cut off by any buffer there is.
        let large = vec![0; 64 << 20];
        let error = sender.send_bytes_timeout(&large, SHORT).unwrap_err();
        assert!(matches!(error, SendError::TooSlow), "{error:?}");
        let error = sender.send_bytes_timeout(b"x", LONG).unwrap_err();
        assert!(matches!(error, SendError::OutOfStep), "{error:?}");
        let _ = receiver;
    }
    let (a, b) = Pipe::<(), ()>().unwrap();
    let mut sent = 0;
    let error = loop {
        match a.send_bytes_timeout(&[7; 1000], SHORT) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
    };
    // A socket takes a small message whole, or not at all.
    assert!(matches!(error, SendError::TimedOut), "{error:?}");
    for _ in 0..sent {
        assert_eq!(b.recv_bytes().unwrap(), [7; 1000]);
    }
    a.send_bytes_timeout(b"again", LONG).unwrap();
    assert_eq!(b.recv_bytes().unwrap(), b"again");
}

#[test]
fn bare_descriptors_come_between_messages() {
    let (a, b) = Pipe::<u8, u8>().unwrap();
    let (near, far) = Pipe::<u8, u8>().unwrap();
    a.send(&1).unwrap();
    a.send_handle(&far).unwrap();
    a.send(&2).unwrap();
    drop(far);
    assert_eq!(b.recv().unwrap(), 1);
    let arrived = b.recv_handle().unwrap();
    assert!(
        rustix::io::fcntl_getfd(&arrived)
            .unwrap()
            .contains(rustix::io::FdFlags::CLOEXEC)
    );
    let arrived = Connection::<u8, u8>::from_fd(arrived).unwrap();
    arrived.send(&3).unwrap();
    assert_eq!((near.recv().unwrap(), b.recv().unwrap()), (3, 2));
    drop(a);
    assert!(matches!(b.recv_handle(), Err(RecvError::Closed)));
}

#[test]
fn the_wire_of_a_bare_descriptor_is_cpythons() {
    let (ours, mut theirs) = raw();
    ours.send_handle(std::fs::File::open("/dev/null").unwrap())
        .unwrap();
    drop(ours);
    let mut bytes = Vec::new();
    theirs.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, [1]);
}

#[test]
fn where_no_descriptor_comes_the_connection_is_out_of_step() {
    for byte in [0, 1, 7] {
        let (ours, mut theirs) = raw();
        theirs.write_all(&[byte]).unwrap();
        match ours.recv_handle() {
            Err(RecvError::Transfer(error)) => {
                assert_eq!(error, TransferError::NoHandle { byte, count: 0 });
            }
            other => panic!("{other:?}"),
        }
        assert!(matches!(ours.recv_handle(), Err(RecvError::OutOfStep)));
    }
    // A message with a handle in it is none either.
    let (a, b) = Pipe::<Connection<u8, u8>, ()>().unwrap();
    a.send(&Pipe().unwrap().0).unwrap();
    match b.recv_handle() {
        Err(RecvError::Transfer(error)) => {
            assert_eq!(error, TransferError::NoHandle { byte: 0, count: 1 });
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(b.recv_bytes(), Err(RecvError::OutOfStep)));
    let (reader, writer) = SimplexPipe::<u8>().unwrap();
    let error = writer.send_handle(&reader).unwrap_err();
    assert!(matches!(
        error,
        SendError::Transfer(TransferError::OneWayPipe)
    ));
    assert!(matches!(
        reader.recv_handle(),
        Err(RecvError::Transfer(TransferError::OneWayPipe))
    ));
}
