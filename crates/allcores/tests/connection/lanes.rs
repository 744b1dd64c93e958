//! A large message over a Pipe: its payload has a socket of its own where that can be, and goes in packets where not.

use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::UdpSocket;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use allcores::multiprocessing::connection::{RecvError, RecvIntoError, SendError};
use allcores::multiprocessing::{Connection, Never, Pipe};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use crate::packets::{PIECE, header, message, packet, raw, write};
use crate::util::{LONG, SHORT};

/// The longest payload that always goes in packets.
const PACKETS: usize = 1 << 20;
const LARGE: usize = PACKETS + 1;

fn write_with(to: &OwnedFd, packet: &[u8], descriptors: &[BorrowedFd<'_>]) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(descriptors)));
    let sent = sendmsg(
        to,
        &[IoSlice::new(packet)],
        &mut control,
        SendFlags::empty(),
    );
    assert_eq!(sent, Ok(packet.len()));
}

/// The next packet, which must be one byte with one socket.
fn lane(from: &OwnedFd) -> UnixStream {
    let mut byte = [0; 9];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let parts = &mut [std::io::IoSliceMut::new(&mut byte)];
    let received = recvmsg(from, parts, &mut control, RecvFlags::CMSG_CLOEXEC).unwrap();
    assert_eq!(received.bytes, 1);
    let mut all = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            all.extend(descriptors);
        }
    }
    assert_eq!(all.len(), 1);
    UnixStream::from(all.pop().unwrap())
}

/// A peer that has announced a large message, and may have sent this beside it.
fn announced(length: usize) -> (Connection<String, String>, OwnedFd) {
    let (ours, theirs) = raw();
    write(&theirs, &header(length));
    (ours, theirs)
}

/// Receives one message in each of the ways that there are.
fn receive(way: usize, ours: Connection<String, String>) -> Result<Vec<u8>, RecvError> {
    let mut buffer = vec![0; 3 * LARGE];
    let into = match way {
        0 => return ours.recv_bytes(),
        1 => return Ok(ours.recv_bytes_timeout(usize::MAX, LONG)?.unwrap()),
        2 => return ours.buffered().recv_bytes(),
        3 => ours.recv_bytes_into(&mut buffer),
        _ => ours.buffered().recv_bytes_into(&mut buffer),
    };
    match into {
        Ok(length) => Ok(buffer[..length].to_vec()),
        Err(RecvIntoError::Recv(error)) => Err(error),
        Err(error) => panic!("{error:?}"),
    }
}
const WAYS: std::ops::Range<usize> = 0..5;

#[test]
fn a_large_message_is_its_header_and_a_socket_with_nothing_but_the_payload() {
    let (ours, theirs) = raw();
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            for size in [PACKETS, LARGE, 5 * LARGE] {
                ours.send_bytes(&message(size)).unwrap();
            }
        });
        assert_eq!(packet(&theirs), header(PACKETS));
        let pieces: Vec<_> = (0..PACKETS / PIECE).map(|_| packet(&theirs)).collect();
        assert!(pieces.concat() == message(PACKETS));
        for size in [LARGE, 5 * LARGE] {
            assert_eq!(packet(&theirs), header(size));
            let mut lane = lane(&theirs);
            lane.write_all(b"L").unwrap();
            let mut payload = Vec::new();
            lane.read_to_end(&mut payload).unwrap();
            assert!(payload == message(size));
        }
        sender.join().unwrap();
    });
}

#[test]
fn sizes_round_the_border_come_as_they_were_and_in_their_order() {
    for way in WAYS {
        for size in [PACKETS, LARGE, 2 * PACKETS, 3 * LARGE] {
            let (a, b) = Pipe::<String, String>().unwrap();
            let next = Connection::<(), u8>::from_fd(b.as_fd().try_clone_to_owned().unwrap());
            let next = next.unwrap();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    if way == 1 {
                        a.send_bytes_timeout(&message(size), LONG).unwrap();
                    } else {
                        a.send_bytes(&message(size)).unwrap();
                    }
                    a.send_bytes(&[7]).unwrap();
                });
                assert!(receive(way, b).unwrap() == message(size), "{size} bytes");
                assert_eq!(next.recv().unwrap(), 7);
            });
        }
    }
}

#[test]
fn a_buffered_end_goes_on_behind_it() {
    let (a, b) = Pipe::<(), ()>().unwrap();
    let b = b.buffered();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for size in [3, LARGE, 5, 7, 2 * LARGE] {
                a.send_bytes(&message(size)).unwrap();
            }
        });
        for size in [3, LARGE, 5, 7, 2 * LARGE] {
            assert!(b.recv_bytes().unwrap() == message(size), "{size} bytes");
        }
    });
}

#[test]
fn handles_come_with_the_header() {
    type Passed = (String, Connection<u8, Never>);
    let (a, b) = Pipe::<Passed, ()>().unwrap();
    std::thread::scope(|scope| {
        let (far, near) = Pipe().unwrap();
        scope.spawn(|| a.send(&("x".repeat(LARGE), far)).unwrap());
        let (text, far) = b.recv().unwrap();
        assert_eq!(text.len(), LARGE);
        far.send(&7).unwrap();
        assert_eq!(near.recv().unwrap(), 7);
        drop(far);
        assert!(matches!(near.recv(), Err(RecvError::Closed)));
    });
}

#[test]
fn a_socket_with_little_room_carries_it() {
    let (ours, theirs) = raw();
    rustix::net::sockopt::set_socket_send_buffer_size(&ours, 1).unwrap();
    let theirs = Connection::<String, String>::from_fd(theirs).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| ours.send_bytes(&message(LARGE)).unwrap());
        assert!(theirs.recv_bytes().unwrap() == message(LARGE));
    });
}

#[test]
fn a_lane_that_nobody_takes_is_no_loss() {
    // The receiver had no descriptor free, so that the kernel closed this one: everything follows in packets, wherever the sender was.
    for taken in [0, 300_000, 3 * LARGE] {
        let (ours, theirs) = raw();
        std::thread::scope(|scope| {
            scope.spawn(|| ours.send_bytes(&message(3 * LARGE)).unwrap());
            assert_eq!(packet(&theirs), header(3 * LARGE));
            let mut lane = lane(&theirs);
            lane.read_exact(&mut vec![0; taken]).unwrap();
            drop(lane);
            let mut payload = Vec::new();
            while payload.len() < 3 * LARGE {
                payload.extend(packet(&theirs));
            }
            assert!(payload == message(3 * LARGE));
        });
    }
}

#[test]
fn a_sender_notices_that_its_receiver_has_gone() {
    for order in [false, true] {
        let (ours, theirs) = raw();
        std::thread::scope(|scope| {
            let sender = scope.spawn(|| ours.send_bytes(&message(3 * LARGE)));
            assert_eq!(packet(&theirs), header(3 * LARGE));
            let mut lane = lane(&theirs);
            lane.read_exact(&mut [0; 10]).unwrap();
            // Whichever it is told of first.
            if order {
                drop(lane);
                drop(theirs);
            } else {
                drop(theirs);
                drop(lane);
            }
            assert!(matches!(sender.join().unwrap(), Err(SendError::Closed)));
        });
    }
    // And if it never received the lane.
    let (ours, theirs) = raw();
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| ours.send_bytes(&message(3 * LARGE)));
        assert_eq!(packet(&theirs), header(3 * LARGE));
        drop(theirs);
        assert!(matches!(sender.join().unwrap(), Err(SendError::Closed)));
    });
}

/// Sends so many bytes to one who will have gone before all of them are received.
fn sends_in_vain(ours: &Connection<String, String>, length: usize) {
    let sent = ours.send_bytes(&vec![7; length]);
    assert!(matches!(sent, Err(SendError::Closed)), "{sent:?}");
    assert!(matches!(ours.send_bytes(b"x"), Err(SendError::OutOfStep)));
}

#[test]
fn a_sender_notices_it_though_somebody_has_a_copy_of_the_lanes_far_end() {
    // As a process has that was forked before it was sent. Wherever the sender is: it writes; it has written all and waits for the answer.
    for (length, answer) in [(64 << 20, false), (64 << 20, true), (LARGE, false)] {
        let (ours, theirs) = raw();
        std::thread::scope(|scope| {
            let sender = scope.spawn(|| sends_in_vain(&ours, length));
            assert_eq!(packet(&theirs), header(length));
            let mut lane = lane(&theirs);
            if answer {
                lane.write_all(b"L").unwrap();
            }
            lane.read_exact(&mut vec![0; LARGE]).unwrap();
            drop(theirs);
            sender.join().unwrap();
        });
    }
}

#[test]
fn a_receiver_notices_that_its_sender_has_gone_though_somebody_has_a_copy_of_the_lane() {
    for way in WAYS {
        for length in [0, 1, LARGE - 1, LARGE] {
            let (ours, theirs) = announced(LARGE);
            let (mut one, other) = UnixStream::pair().unwrap();
            write_with(&theirs, b"L", &[other.as_fd()]);
            drop(other);
            let copy = one.try_clone().unwrap();
            std::thread::scope(|scope| {
                scope.spawn(move || {
                    one.write_all(&message(length)).unwrap();
                    drop(theirs);
                });
                let received = receive(way, ours);
                let missing = (LARGE - length) as u64;
                match received {
                    Ok(received) => assert!(missing == 0 && received == message(LARGE)),
                    Err(RecvError::Truncated { missing: told }) => assert_eq!(told, missing),
                    Err(error) => panic!("{error:?}"),
                }
            });
            drop(copy);
        }
    }
}

#[test]
fn a_receiver_that_gives_up_a_lane_it_had_taken_ends_the_message() {
    let (ours, theirs) = raw();
    // More than any socket holds.
    let length = 64 << 20;
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| sends_in_vain(&ours, length));
        assert_eq!(packet(&theirs), header(length));
        let mut lane = lane(&theirs);
        lane.write_all(b"L").unwrap();
        lane.read_exact(&mut [0; 10]).unwrap();
        drop(lane);
        sender.join().unwrap();
    });
}

#[test]
fn a_receiver_that_does_not_read_meets_the_senders_deadline() {
    let (ours, theirs) = raw();
    let sent = ours.send_bytes_timeout(&message(9 * LARGE), SHORT);
    assert!(matches!(sent, Err(SendError::TooSlow)));
    assert!(matches!(ours.send_bytes(b"x"), Err(SendError::OutOfStep)));
    // What there is of it ends.
    assert_eq!(packet(&theirs), header(9 * LARGE));
    let mut payload = Vec::new();
    lane(&theirs).read_to_end(&mut payload).unwrap();
    assert!(payload[..] == message(9 * LARGE)[..payload.len()]);
    let theirs = Connection::<(), ()>::from_fd(theirs).unwrap();
    assert!(!theirs.poll().unwrap());
}

#[test]
fn a_receiver_that_never_says_that_it_has_the_lane_meets_the_senders_deadline() {
    let (ours, theirs) = raw();
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let sent = ours.send_bytes_timeout(&message(LARGE), SHORT);
            assert!(matches!(sent, Err(SendError::TooSlow)), "{sent:?}");
            assert!(matches!(ours.send_bytes(b"x"), Err(SendError::OutOfStep)));
        });
        assert_eq!(packet(&theirs), header(LARGE));
        // All that there is room for, or less where the deadline was sooner.
        let mut payload = Vec::new();
        let lane = lane(&theirs);
        (&lane)
            .take(LARGE as u64)
            .read_to_end(&mut payload)
            .unwrap();
        assert!(payload[..] == message(LARGE)[..payload.len()]);
        sender.join().unwrap();
    });
}

#[test]
fn a_lane_that_ends_early_is_an_error() {
    for way in WAYS {
        for length in [0, 1, LARGE - 1] {
            let (ours, theirs) = announced(LARGE);
            let (mut one, other) = UnixStream::pair().unwrap();
            write_with(&theirs, b"L", &[other.as_fd()]);
            drop(other);
            std::thread::scope(|scope| {
                // Or less, where the receiver sees the end at once.
                scope.spawn(move || one.write_all(&message(length)));
                let error = receive(way, ours).unwrap_err();
                let missing = (LARGE - length) as u64;
                assert!(
                    matches!(error, RecvError::Truncated { missing: told } if told == missing),
                    "{error:?}, {missing} missing"
                );
            });
        }
    }
}

#[test]
fn a_lane_that_brings_nothing_meets_the_receivers_deadline() {
    let (ours, theirs) = announced(LARGE);
    let (mut one, other) = UnixStream::pair().unwrap();
    write_with(&theirs, b"L", &[other.as_fd()]);
    one.write_all(&[7; 100]).unwrap();
    let error = ours.recv_timeout(SHORT).unwrap_err();
    let missing = LARGE as u64 - 100;
    assert!(
        matches!(error, RecvError::TooSlow { missing: told } if told == missing),
        "{error:?}"
    );
    assert!(matches!(ours.recv(), Err(RecvError::OutOfStep)));
    // The other direction lives.
    ours.send_bytes(b"x").unwrap();
    assert_eq!(packet(&theirs), b"\0\0\0\x01x");
}

#[test]
fn what_a_lane_brings_beyond_its_message_is_nobodys() {
    for way in WAYS {
        let (ours, theirs) = announced(LARGE);
        let (mut one, other) = UnixStream::pair().unwrap();
        write_with(&theirs, b"L", &[other.as_fd()]);
        drop(other);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                one.write_all(&message(LARGE)).unwrap();
                // It may be closed by then.
                let _ = one.write_all(&[7; 100]);
            });
            let twin = Connection::<(), u8>::from_fd(ours.as_fd().try_clone_to_owned().unwrap());
            assert!(receive(way, ours).unwrap() == message(LARGE));
            write(&theirs, b"\0\0\0\x01\x09");
            assert_eq!(twin.unwrap().recv().unwrap(), 9);
        });
    }
}

#[test]
fn descriptors_that_are_no_lane_are_errors() {
    let file = OwnedFd::from(std::fs::File::open("/dev/zero").unwrap());
    let (pipe, _writer) = std::io::pipe().unwrap();
    let network = OwnedFd::from(UdpSocket::bind("127.0.0.1:0").unwrap());
    let (one, other) = UnixStream::pair().unwrap();
    let (_packets, packets) = raw();
    let cases: [(&[u8], Vec<BorrowedFd<'_>>); 6] = [
        (b"L", vec![file.as_fd()]),
        (b"L", vec![pipe.as_fd()]),
        (b"L", vec![network.as_fd()]),
        (b"L", vec![packets.as_fd()]),
        (b"L", vec![one.as_fd(), other.as_fd()]),
        (b"LL", vec![one.as_fd()]),
    ];
    for (bytes, descriptors) in &cases {
        for way in WAYS {
            let (ours, theirs) = announced(LARGE);
            let twin = Connection::<(), u8>::from_fd(ours.as_fd().try_clone_to_owned().unwrap());
            write_with(&theirs, bytes, descriptors);
            write(&theirs, b"\0\0\0\x01\x09");
            let error = receive(way, ours).unwrap_err();
            let length = bytes.len();
            assert!(
                matches!(error, RecvError::BadPacket { length: told } if told == length),
                "{error:?} for {bytes:?}"
            );
            // No byte was read that is not this message's.
            assert_eq!(twin.unwrap().recv().unwrap(), 9);
        }
    }
}

#[test]
fn a_small_message_has_none() {
    // One byte with a socket is a piece of what was announced, and the socket is closed.
    let (ours, theirs) = announced(PACKETS);
    let (one, mut other) = UnixStream::pair().unwrap();
    write_with(&theirs, b"L", &[one.as_fd()]);
    drop(one);
    drop(theirs);
    let missing = PACKETS as u64 - 1;
    let error = ours.recv_bytes().unwrap_err();
    assert!(
        matches!(error, RecvError::Truncated { missing: told } if told == missing),
        "{error:?}"
    );
    assert_eq!(other.read(&mut [0; 9]).unwrap(), 0);
}

#[test]
fn a_large_message_may_come_in_packets() {
    for way in WAYS {
        let (ours, theirs) = announced(LARGE);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for piece in message(LARGE).chunks(PIECE) {
                    write(&theirs, piece);
                }
            });
            assert!(receive(way, ours).unwrap() == message(LARGE));
        });
    }
}
