//! Handles inside messages, honest ones and forged ones.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use allcores::multiprocessing::connection::{RecvError, SendError};
use allcores::multiprocessing::transfer::{self, TransferError};
use allcores::multiprocessing::{Connection, Never, Pipe, SimplexPipe};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

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
