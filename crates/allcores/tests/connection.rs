//! Connections, through the public API and against raw bytes on the wire.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use allcores::multiprocessing::connection::frame::{Frame, FrameError, Header, Want};
use allcores::multiprocessing::connection::{BufferTooShort, RecvError, RecvIntoError, SendError};
use allcores::multiprocessing::transfer::{self, TransferError};
use allcores::multiprocessing::{Connection, Never, Pipe, SimplexPipe, wait};
use proptest::prelude::*;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A Connection, and the raw socket on its other side.
fn raw() -> (Connection<String, String>, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (Connection::from_fd(ours.into()).unwrap(), theirs)
}

/// Returns once everything that was written towards `reader` has been read from it.
fn until_taken(reader: impl AsFd) {
    let mut byte = [0];
    let flags = rustix::net::RecvFlags::PEEK | rustix::net::RecvFlags::DONTWAIT;
    while rustix::net::recv(&reader, &mut byte, flags).is_ok() {
        std::thread::yield_now();
    }
}

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
fn a_connection_travels_through_a_connection() {
    let (a, b) = Pipe::<(Connection<u8, u8>, String), Never>().unwrap();
    let (far, near) = Pipe::<u8, u8>().unwrap();
    a.send(&(far, "here".into())).unwrap();
    let (arrived, text) = b.recv().unwrap();
    assert_eq!(text, "here");
    arrived.send(&5).unwrap();
    assert_eq!(near.recv().unwrap(), 5);
    drop(arrived);
    assert!(
        matches!(near.recv(), Err(RecvError::Closed)),
        "no copy is left anywhere"
    );
}

#[test]
fn the_sent_end_stays_usable() {
    let (a, b) = Pipe::<Vec<Connection<u8, u8>>, ()>().unwrap();
    let (far, near) = Pipe::<u8, u8>().unwrap();
    let message = vec![far];
    a.send(&message).unwrap();
    message[0].send(&1).unwrap();
    b.recv().unwrap()[0].send(&2).unwrap();
    assert_eq!((near.recv().unwrap(), near.recv().unwrap()), (1, 2));
}

#[test]
fn a_one_way_end_travels_too() {
    let (a, b) = Pipe::<Connection<u8, Never>, ()>().unwrap();
    let (reader, writer) = SimplexPipe::<u8>().unwrap();
    a.send(&writer).unwrap();
    drop(writer);
    b.recv().unwrap().send(&3).unwrap();
    assert_eq!(reader.recv().unwrap(), 3);
    assert!(matches!(reader.recv(), Err(RecvError::Closed)));
}

#[test]
fn a_kernel_pipe_names_the_remedy_and_stays_usable() {
    let (reader, writer) = SimplexPipe::<Option<Connection<u8, u8>>>().unwrap();
    let (handle, _other) = Pipe::<u8, u8>().unwrap();
    let error = writer.send(&Some(handle)).unwrap_err();
    assert!(
        matches!(error, SendError::Transfer(TransferError::OneWayPipe)),
        "{error:?}"
    );
    assert!(error.to_string().contains("duplex Pipe()"), "{error}");
    writer.send(&None).unwrap();
    assert!(reader.recv().unwrap().is_none());
}

#[test]
fn a_handle_outside_a_message_is_a_clear_error() {
    let (handle, _other) = Pipe::<u8, u8>().unwrap();
    let error = serde_json::to_string(&handle).unwrap_err();
    assert!(error.to_string().contains("Connection::send"), "{error}");
    let error = serde_json::from_str::<Connection<u8, u8>>("0").unwrap_err();
    assert!(error.to_string().contains("Connection::recv"), "{error}");
    assert!(!transfer::is_open());
}

#[test]
fn descriptors_that_no_frame_names_or_names_twice_are_decode_errors() {
    // The receiver believes in handles, the sender writes what it likes.
    let (ours, theirs) = UnixStream::pair().unwrap();
    let forger = Connection::<Vec<u32>, ()>::from_fd(ours.into()).unwrap();
    let victim = Connection::<(), Vec<Connection<u8, u8>>>::from_fd(theirs.into()).unwrap();
    forger.send(&vec![0]).unwrap();
    match victim.recv() {
        Err(RecvError::Transfer(TransferError::Missing { index: 0, count: 0 })) => {}
        other => panic!("{other:?}"),
    }
    forger.send(&vec![u32::MAX]).unwrap();
    assert!(matches!(
        victim.recv(),
        Err(RecvError::Transfer(TransferError::Missing { .. }))
    ));

    /// Two handles, one index.
    struct Twice(OwnedFd);
    impl Serialize for Twice {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let index = transfer::attach(self.0.as_fd()).map_err(serde::ser::Error::custom)?;
            vec![index, index].serialize(serializer)
        }
    }
    let forger = Connection::<Twice, ()>::from_fd(OwnedFd::from(forger)).unwrap();
    forger
        .send(&Twice(UnixStream::pair().unwrap().0.into()))
        .unwrap();
    match victim.recv() {
        Err(RecvError::Transfer(TransferError::AlreadyTaken { index: 0 })) => {}
        other => panic!("{other:?}"),
    }

    /// A file where a channel should be.
    struct File(OwnedFd);
    impl Serialize for File {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let index = transfer::attach(self.0.as_fd()).map_err(serde::ser::Error::custom)?;
            vec![index].serialize(serializer)
        }
    }
    let forger = Connection::<File, ()>::from_fd(OwnedFd::from(forger)).unwrap();
    forger
        .send(&File(std::fs::File::open("/proc/self/exe").unwrap().into()))
        .unwrap();
    match victim.recv() {
        Err(RecvError::Transfer(TransferError::Unsuitable { index: 0, .. })) => {}
        other => panic!("{other:?}"),
    }

    let honest = Connection::<Vec<Connection<u8, u8>>, ()>::from_fd(OwnedFd::from(forger)).unwrap();
    honest.send(&vec![Pipe().unwrap().0]).unwrap();
    assert_eq!(victim.recv().unwrap().len(), 1);
}

#[test]
fn a_message_carries_as_many_descriptors_as_the_kernel_does_and_no_more() {
    /// The same descriptor, many times.
    struct Many(OwnedFd, usize);
    impl Serialize for Many {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let indices: Result<Vec<_>, _> = (0..self.1)
                .map(|_| transfer::attach(self.0.as_fd()))
                .collect();
            indices
                .map_err(serde::ser::Error::custom)?
                .serialize(serializer)
        }
    }
    let (ours, theirs) = UnixStream::pair().unwrap();
    let sender = Connection::<Many, ()>::from_fd(ours.into()).unwrap();
    let receiver = Connection::<(), Vec<Connection<u8, u8>>>::from_fd(theirs.into()).unwrap();
    let end = || OwnedFd::from(UnixStream::pair().unwrap().0);
    match sender.send(&Many(end(), transfer::MOST_DESCRIPTORS + 1)) {
        Err(SendError::Transfer(TransferError::TooMany { most: 253 })) => {}
        other => panic!("{other:?}"),
    }
    sender
        .send(&Many(end(), transfer::MOST_DESCRIPTORS))
        .unwrap();
    assert_eq!(receiver.recv().unwrap().len(), 253);
}

#[test]
fn many_handles_share_one_descriptor() {
    struct Shared(OwnedFd);
    impl Serialize for Shared {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let attach = || transfer::attach_shared(77, self.0.as_fd());
            let both = attach().and_then(|one| Ok((one, attach()?)));
            both.map_err(serde::ser::Error::custom)?
                .serialize(serializer)
        }
    }
    /// True if both descriptors could be looked at.
    struct Seen(bool);
    impl<'de> Deserialize<'de> for Seen {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Seen, D::Error> {
            let (one, other) = <(u32, u32)>::deserialize(deserializer)?;
            let number = |index| transfer::lend(index, |fd| rustix::fs::fstat(fd).unwrap().st_ino);
            let same = number(one).and_then(|first| Ok(first == number(other)?));
            Ok(Seen(
                one == other && same.map_err(serde::de::Error::custom)?,
            ))
        }
    }
    let (ours, theirs) = UnixStream::pair().unwrap();
    let sender = Connection::<Shared, ()>::from_fd(ours.into()).unwrap();
    let receiver = Connection::<(), Seen>::from_fd(theirs.into()).unwrap();
    sender
        .send(&Shared(std::fs::File::open("/dev/null").unwrap().into()))
        .unwrap();
    assert!(receiver.recv().unwrap().0);
}

#[test]
fn parcels_learn_what_became_of_their_message() {
    use std::sync::Mutex;
    static FATES: Mutex<Vec<(u8, bool)>> = Mutex::new(Vec::new());
    struct Note(u8);
    impl transfer::Parcel for Note {
        fn delivered(self: Box<Self>) {
            FATES.lock().unwrap().push((self.0, true));
        }
        fn lost(self: Box<Self>) {
            FATES.lock().unwrap().push((self.0, false));
        }
    }
    struct Noted(u8, bool);
    impl Serialize for Noted {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            transfer::accompany(Box::new(Note(self.0))).map_err(serde::ser::Error::custom)?;
            if self.1 {
                return Err(serde::ser::Error::custom("no"));
            }
            serializer.serialize_u8(self.0)
        }
    }
    let (a, b) = Pipe::<Noted, Never>()
        .map(|(a, b)| (a, OwnedFd::from(b)))
        .unwrap();
    a.send(&Noted(1, false)).unwrap();
    assert!(matches!(
        a.send(&Noted(2, true)),
        Err(SendError::Encode { .. })
    ));
    drop(b);
    assert!(matches!(a.send(&Noted(3, false)), Err(SendError::Closed)));
    assert!(serde_json::to_string(&Noted(4, false)).is_err());
    assert_eq!(
        *FATES.lock().unwrap(),
        [(1, true), (2, false), (3, false), (4, false)]
    );
}

#[test]
fn only_channels_make_connections() {
    let file = std::fs::File::open("/dev/null").unwrap();
    let error = Connection::<u8, u8>::from_fd(file.into()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
}

/// Feeds a whole stream to the state machine in pieces of the given sizes, and returns the payloads.
fn parse(stream: &[u8], pieces: &[usize], most: Option<u64>) -> Result<Vec<Vec<u8>>, FrameError> {
    let mut payloads = Vec::new();
    let mut pieces = pieces.iter().copied().cycle();
    let mut rest = stream;
    let mut frame = Frame::new(most);
    let mut payload = Vec::new();
    loop {
        let piece = rest.len().min(pieces.next().unwrap_or(1).max(1));
        match frame.wants() {
            Want::Nothing => {
                payloads.push(std::mem::take(&mut payload));
                frame = Frame::new(most);
                continue;
            }
            _ if rest.is_empty() => {
                return frame.end_of_stream().map(|_| payloads);
            }
            Want::Header(most) => {
                let (now, later) = rest.split_at(piece.min(most));
                frame.header(now)?;
                rest = later;
            }
            Want::Payload(most) => {
                let (now, later) = rest.split_at(piece.min(most as usize));
                payload.extend_from_slice(now);
                frame.payload(now.len() as u64);
                rest = later;
            }
        }
    }
}

proptest! {
    #[test]
    fn frames_survive_any_splitting(
        messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..6),
        long in any::<bool>(),
        pieces in prop::collection::vec(1usize..20, 1..8),
    ) {
        let mut stream = Vec::new();
        for message in &messages {
            if long {
                stream.extend_from_slice(&[0xff; 4]);
                stream.extend_from_slice(&(message.len() as u64).to_be_bytes());
            } else {
                stream.extend_from_slice(Header::new(message.len() as u64).as_bytes());
            }
            stream.extend_from_slice(message);
        }
        prop_assert_eq!(parse(&stream, &pieces, None).unwrap(), messages);
    }

    #[test]
    fn a_cut_stream_is_truncated_or_ends_between_frames(
        messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut stream = Vec::new();
        let mut borders = vec![0];
        for message in &messages {
            stream.extend_from_slice(Header::new(message.len() as u64).as_bytes());
            stream.extend_from_slice(message);
            borders.push(stream.len());
        }
        let cut = cut.index(stream.len() + 1);
        let parsed = parse(&stream[..cut], &[3], None);
        match borders.iter().position(|border| *border == cut) {
            Some(whole) => prop_assert_eq!(parsed.unwrap(), &messages[..whole]),
            None => {
                let truncated = matches!(parsed, Err(FrameError::Truncated { .. }));
                prop_assert!(truncated);
            }
        }
    }

    #[test]
    fn no_stream_of_bytes_makes_the_machine_panic(
        stream in prop::collection::vec(any::<u8>(), 0..200),
        pieces in prop::collection::vec(1usize..20, 1..8),
        most in prop::option::of(0u64..300),
    ) {
        if let Ok(payloads) = parse(&stream, &pieces, most) {
            prop_assert!(payloads.iter().all(|payload| most.is_none_or(|most| payload.len() as u64 <= most)));
        }
    }

    #[test]
    fn a_header_says_its_length(length in prop_oneof![any::<u64>(), 0x7FFF_FFF0u64..0x8000_0010, 0u64..20]) {
        let header = Header::new(length);
        let mut frame = Frame::new(None);
        let mut rest = header.as_bytes();
        let mut refused = None;
        while let (Want::Header(most), None, false) = (frame.wants(), &refused, rest.is_empty()) {
            let (now, later) = rest.split_at(most.min(rest.len()));
            refused = frame.header(now).err();
            rest = later;
        }
        match refused {
            None => prop_assert_eq!(frame.length(), Some(length)),
            Some(error) => {
                prop_assert_eq!(error, FrameError::TooLong { length, most: isize::MAX as u64 });
                prop_assert!(length > isize::MAX as u64);
            }
        }
        prop_assert_eq!(header.as_bytes().len(), if length > 0x7FFF_FFFF { 12 } else { 4 });
    }
}
