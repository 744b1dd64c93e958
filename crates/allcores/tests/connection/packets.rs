//! A Pipe keeps packets apart: what is one packet and what is several, and peers that do not keep to it.

use std::os::fd::{AsFd, OwnedFd};

use allcores::multiprocessing::connection::{RecvError, SendError};
use allcores::multiprocessing::{Connection, Never, Pipe};
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags,
    SocketType, recv, sendmsg, socketpair, sockopt,
};

use crate::util::{LONG, SHORT};

/// The longest frame that is one packet, and the longest piece of a longer one's payload.
const FIRST: usize = 8 << 10;
pub(crate) const PIECE: usize = 64 << 10;

/// A Connection, and the bare socket on its other side.
pub(crate) fn raw() -> (Connection<String, String>, OwnedFd) {
    let flags = SocketFlags::CLOEXEC;
    let pair = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None);
    let (ours, theirs) = pair.unwrap();
    (Connection::from_fd(ours).unwrap(), theirs)
}

pub(crate) fn write(to: &OwnedFd, packet: &[u8]) {
    assert_eq!(rustix::io::write(to, packet), Ok(packet.len()));
}

/// The header of a payload so long.
pub(crate) fn header(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap().to_be_bytes()
}

/// The next packet.
pub(crate) fn packet(from: impl AsFd) -> Vec<u8> {
    let mut bytes = vec![0; 1 << 20];
    let (_, length) = recv(from, &mut bytes[..], RecvFlags::TRUNC).unwrap();
    bytes.truncate(length);
    bytes
}

pub(crate) fn message(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at % 251) as u8).collect()
}

#[test]
fn a_small_message_is_one_packet_and_a_large_one_its_header_and_pieces() {
    let (ours, theirs) = raw();
    for size in [0, 1, 508, 509, FIRST - 4] {
        ours.send_bytes(&message(size)).unwrap();
        let bytes = packet(&theirs);
        assert_eq!(
            (&bytes[..4], &bytes[4..]),
            (&header(size)[..], &message(size)[..])
        );
    }
    for (size, pieces) in [
        (FIRST - 3, vec![FIRST - 3]),
        (PIECE, vec![PIECE]),
        (PIECE + 1, vec![PIECE, 1]),
    ] {
        ours.send_bytes(&message(size)).unwrap();
        assert_eq!(packet(&theirs), header(size));
        let came: Vec<_> = pieces.iter().map(|_| packet(&theirs)).collect();
        assert!(came.iter().map(Vec::len).eq(pieces), "of {size} bytes");
        assert!(came.concat() == message(size));
    }
    // A value's frame is made in one piece of memory.
    ours.send(&"x".repeat(FIRST)).unwrap();
    assert_eq!(packet(&theirs), header(FIRST + 2));
    assert_eq!(packet(&theirs).len(), FIRST + 2);
}

#[test]
fn sizes_round_the_borders_come_as_they_were() {
    let sizes = [
        0,
        1,
        FIRST - 5,
        FIRST - 4,
        FIRST - 3,
        FIRST,
        PIECE - 1,
        PIECE,
        PIECE + 1,
        15 * PIECE,
        16 * PIECE,
        16 * PIECE + 1,
        40 * PIECE + 7,
    ];
    let (a, b) = Pipe::<(), ()>().unwrap();
    let mut buffer = vec![0; 41 * PIECE];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for size in sizes {
                a.send_bytes(&message(size)).unwrap();
                a.send_bytes_timeout(&message(size), LONG).unwrap();
                a.send_bytes(&message(size)).unwrap();
            }
        });
        for size in sizes {
            assert!(b.recv_bytes().unwrap() == message(size), "{size} bytes");
            let length = b.recv_bytes_into(&mut buffer).unwrap();
            assert!(buffer[..length] == message(size), "{size} bytes");
            let in_time = b.recv_bytes_timeout(size, LONG).unwrap();
            assert!(in_time.unwrap() == message(size), "{size} bytes");
        }
    });
}

#[test]
fn who_shares_an_end_finds_whole_messages() {
    let (a, b) = Pipe::<u8, u8>().unwrap();
    let other = Connection::<u8, u8>::from_fd(b.as_fd().try_clone_to_owned().unwrap()).unwrap();
    for value in 1..=4 {
        a.send(&value).unwrap();
    }
    assert_eq!((b.recv().unwrap(), other.recv().unwrap()), (1, 2));
    let again = Connection::<u8, u8>::from_fd(OwnedFd::from(b)).unwrap();
    assert_eq!((other.recv().unwrap(), again.recv().unwrap()), (3, 4));
    assert!(!other.poll().unwrap() && !again.poll().unwrap());
}

#[test]
fn handles_come_with_large_messages_too() {
    type Passed = (String, Connection<u8, Never>);
    let (a, b) = Pipe::<Passed, ()>().unwrap();
    for size in [10, FIRST, 3 * PIECE] {
        let (far, near) = Pipe().unwrap();
        a.send(&("x".repeat(size), far)).unwrap();
        let (text, far) = b.recv().unwrap();
        assert_eq!(text.len(), size);
        far.send(&7).unwrap();
        assert_eq!(near.recv().unwrap(), 7);
        drop(far);
        assert!(matches!(near.recv(), Err(RecvError::Closed)));
    }
}

#[test]
fn a_socket_with_little_room_takes_shorter_pieces() {
    let (ours, theirs) = raw();
    sockopt::set_socket_send_buffer_size(&ours, 1).unwrap();
    let theirs = Connection::<String, String>::from_fd(theirs).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for size in [100, FIRST - 4, 3 * PIECE] {
                ours.send_bytes(&message(size)).unwrap();
            }
        });
        for size in [100, FIRST - 4, 3 * PIECE] {
            assert!(
                theirs.recv_bytes().unwrap() == message(size),
                "{size} bytes"
            );
        }
    });
}

#[test]
fn packets_that_are_no_message_are_errors() {
    let long = vec![7; FIRST + 1];
    let cases: [&[&[u8]]; 8] = [
        // Half a header, and less than a long one's.
        &[b"\0\0\0"],
        &[b"\xff\xff\xff\xff\0\0\0"],
        // A part of the message, more than all of it.
        &[b"\0\0\0\x05hell"],
        &[b"\0\0\0\x05hello\0\0\0\x01x"],
        // Longer than any first packet.
        &[&long],
        // A piece that is too long.
        &[b"\0\0\0\x05", b"hello!"],
        &[b"\0\0\0\x05", b"hell", b"o!"],
        &[b"\0\x03\x0d\x40", &[7; 150_000], &[8; 60_000]],
    ];
    for packets in cases {
        for way in 0..3 {
            let (ours, theirs) = raw();
            sockopt::set_socket_send_buffer_size(&theirs, 4 << 20).unwrap();
            for packet in packets {
                write(&theirs, packet);
            }
            write(&theirs, b"\0\0\0\x04next");
            let mut buffer = vec![0; 200_000];
            let error = match way {
                0 => ours.recv().unwrap_err(),
                1 => ours.recv_bytes().unwrap_err(),
                _ => match ours.recv_bytes_into(&mut buffer).unwrap_err() {
                    allcores::multiprocessing::connection::RecvIntoError::Recv(error) => error,
                    error => panic!("{error:?}"),
                },
            };
            let length = packets.last().unwrap().len();
            assert!(
                matches!(error, RecvError::BadPacket { length: told } if told == length),
                "{error:?}, {length} bytes"
            );
            assert!(matches!(ours.recv(), Err(RecvError::OutOfStep)));
            // The other direction lives.
            ours.send_bytes(b"x").unwrap();
            assert_eq!(packet(&theirs), b"\0\0\0\x01x");
        }
    }
}

#[test]
fn an_end_inside_a_message_is_an_error_and_so_is_a_wait_for_its_rest() {
    for buffered in [false, true] {
        let (ours, theirs) = raw();
        write(&theirs, &header(5));
        write(&theirs, b"hell");
        drop(theirs);
        let error = match buffered {
            false => ours.recv_bytes().unwrap_err(),
            true => ours.buffered().recv_bytes().unwrap_err(),
        };
        assert!(
            matches!(error, RecvError::Truncated { missing: 1 }),
            "{error:?}"
        );
    }
    let (ours, theirs) = raw();
    write(&theirs, &header(5));
    let error = ours.recv_timeout(SHORT).unwrap_err();
    assert!(
        matches!(error, RecvError::TooSlow { missing: 5 }),
        "{error:?}"
    );
    assert!(matches!(ours.recv(), Err(RecvError::OutOfStep)));
}

#[test]
fn lengths_that_cannot_be_are_refused() {
    let (ours, theirs) = raw();
    write(&theirs, &(-2i32).to_be_bytes());
    assert!(matches!(
        ours.recv(),
        Err(RecvError::BadHeader { length: -2 })
    ));
    let (ours, theirs) = raw();
    write(&theirs, &[0xff; 12]);
    assert!(matches!(ours.recv(), Err(RecvError::TooLong { .. })));
    let (ours, theirs) = raw();
    write(&theirs, b"\0\0\0\x05hello");
    assert!(matches!(
        ours.recv_bytes_max(4),
        Err(RecvError::TooLong { length: 5, most: 4 })
    ));
    assert!(matches!(ours.recv_bytes(), Err(RecvError::OutOfStep)));
}

#[test]
fn a_reader_that_reads_ahead_refuses_what_it_has_no_room_for() {
    let (ours, theirs) = raw();
    let ours = ours.buffered();
    write(&theirs, &[0; 20_000]);
    write(&theirs, b"\0\0\0\x04next");
    assert!(matches!(
        ours.recv_bytes(),
        Err(RecvError::BadPacket { length: 20_000 })
    ));
    assert!(matches!(ours.recv_bytes(), Err(RecvError::OutOfStep)));
    let (ours, theirs) = raw();
    let ours = ours.buffered();
    write(&theirs, &header(20_000));
    write(&theirs, &[0; 20_001]);
    assert!(matches!(
        ours.recv_bytes_into(&mut [0; 20_000]).unwrap_err(),
        allcores::multiprocessing::connection::RecvIntoError::Recv(RecvError::BadPacket { .. })
    ));
}

#[test]
fn a_message_where_a_bare_descriptor_should_be_is_out_of_step() {
    let (ours, theirs) = raw();
    // It comes with a descriptor, and its first byte is that of a bare one.
    let with = [theirs.as_fd()];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&with)));
    let part = [std::io::IoSlice::new(b"\x01\0\0\0")];
    let sent = sendmsg(&theirs, &part, &mut control, SendFlags::empty());
    assert_eq!(sent, Ok(4));
    assert!(matches!(ours.recv_handle(), Err(RecvError::Transfer(_))));
    assert!(matches!(ours.recv_handle(), Err(RecvError::OutOfStep)));
}

#[test]
fn what_lies_unread_at_a_closed_far_end_hides_nothing_of_what_it_sent() {
    for way in 0..3 {
        let (a, b) = Pipe::<u8, u8>().unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        a.send(&1).unwrap();
        match way {
            2 => b.send_handle(&null).unwrap(),
            _ => b.send(&2).unwrap(),
        }
        drop(b);
        if way == 1 {
            // Whoever asks first is told.
            assert!(matches!(a.send(&3), Err(SendError::Closed)));
        }
        match way {
            2 => drop(a.recv_handle().unwrap()),
            _ => assert_eq!(a.recv().unwrap(), 2),
        }
        assert!(matches!(a.recv(), Err(RecvError::Closed)));
        assert!(matches!(a.send(&3), Err(SendError::Closed)));
    }
}
