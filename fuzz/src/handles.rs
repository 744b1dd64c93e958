//! A message that is said to hold handles, with descriptors of all sorts.
//!
//! Bytes: which descriptors come along (1 for how many, 1 for each), the message.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::OnceLock;

use allcores::multiprocessing::connection::frame::Header;
use allcores::multiprocessing::connection::{Compact, Pickle};
use allcores::multiprocessing::{
    Barrier, BoundedSemaphore, Condition, Connection, Event, Lock, OwnedSemaphore, RLock, Semaphore,
};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde::Deserialize;

use super::Bytes;

#[derive(Deserialize)]
#[expect(dead_code, reason = "they are received and dropped")]
enum Handle {
    Connection(Connection<u8, u8>),
    Connections(Vec<Connection<u8, u8>>),
    Lock(Lock<u64>),
    RLock(RLock<u64>),
    Semaphore(Semaphore),
    BoundedSemaphore(BoundedSemaphore),
    OwnedSemaphore(OwnedSemaphore),
    Event(Event),
    Condition(Condition),
    Barrier(Barrier),
    Two(Box<Handle>, Box<Handle>),
}

/// Things that are open in this process.
fn descriptors() -> &'static [OwnedFd] {
    static OPEN: OnceLock<Vec<OwnedFd>> = OnceLock::new();
    OPEN.get_or_init(|| {
        let (one, other) = UnixStream::pair().unwrap();
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let flags = rustix::fs::MemfdFlags::CLOEXEC | rustix::fs::MemfdFlags::ALLOW_SEALING;
        let memory = rustix::fs::memfd_create(c"no arena", flags).unwrap();
        rustix::fs::ftruncate(&memory, 4 << 20).unwrap();
        let sealed = rustix::fs::memfd_create(c"sealed", flags).unwrap();
        rustix::fs::ftruncate(&sealed, 4 << 20).unwrap();
        rustix::fs::fcntl_add_seals(&sealed, rustix::fs::SealFlags::SHRINK).unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        vec![
            one.into(),
            other.into(),
            reader,
            writer,
            memory,
            sealed,
            null.into(),
        ]
    })
}

fn send(to: &UnixStream, payload: &[u8], descriptors: &[BorrowedFd<'_>]) {
    let header = Header::new(payload.len() as u64);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(descriptors)));
    }
    let parts = [IoSlice::new(header.as_bytes()), IoSlice::new(payload)];
    let sent = sendmsg(to, &parts, &mut control, SendFlags::empty()).unwrap();
    assert_eq!(sent, header.as_bytes().len() + payload.len());
}

/// The number that the next descriptor gets.
fn next_descriptor() -> i32 {
    rustix::io::dup(&descriptors()[0]).unwrap().as_raw_fd()
}

/// Receives it, and has no descriptor more than before.
pub fn run(data: &[u8]) {
    let mut bytes = Bytes(data);
    let open = descriptors();
    let count = usize::from(bytes.u8() % 9);
    let sent: Vec<_> = (0..count)
        .map(|_| open[usize::from(bytes.u8()) % open.len()].as_fd())
        .collect();
    // More would not fit into the socket's buffer, and nobody reads meanwhile.
    let payload = bytes.take(4096);
    // The first look at any handle makes the common arena.
    let before = {
        Event::new().unwrap();
        next_descriptor()
    };
    {
        let (peer, ours) = UnixStream::pair().unwrap();
        send(&peer, payload, &sent);
        send(&peer, payload, &sent);
        let compact = Connection::<u8, Handle, Compact>::from_fd(ours.into()).unwrap();
        let first = compact.recv();
        let pickle = compact.with_codec::<Pickle>();
        assert!(pickle.recv().is_err(), "a pickle holds no handles");
        drop(first);
    }
    assert_eq!(next_descriptor(), before, "a descriptor was left open");
}
