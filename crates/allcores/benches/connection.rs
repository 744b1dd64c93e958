//! Connections against the descriptors that they are made of: a bare socket pair, read and written in a loop.
//!
//! `cargo bench -p allcores --bench connection -- [--json | --markdown] [--quick] [FILTER…]`

mod common;

use std::io::{IoSlice, Read, Write};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use allcores::multiprocessing::connection::BufferedConnection;
use allcores::multiprocessing::{Connection, Pipe, StreamPipe};
use common::machine::Pins;
use common::messages::{self, Job, Receiver, Sender};
use common::peers::{LARGE_BUFFER, socket_pair};
use common::{Bench, Bound, side};

const SMALL: usize = 64;
const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

fn main() {
    let mut bench = Bench::from_args();
    for pins in Pins::ALL {
        round_trip(&mut bench, pins);
    }
    for pins in Pins::ALL {
        small_one_way(&mut bench, pins);
    }
    for (size, name) in [(64 * KIB, "64 KiB"), (MIB, "1 MiB"), (64 * MIB, "64 MiB")] {
        for pins in Pins::ALL {
            large_one_way(&mut bench, size, name, pins);
        }
    }
    bench.end();
}

/// What is judged where processes are pinned.
fn judged(pins: Pins, most: f64) -> Bound {
    match pins {
        Pins::SameCpu | Pins::TwoCpus => Bound::Ratio(most),
        Pins::Free => Bound::None,
    }
}

fn round_trip(bench: &mut Bench, pins: Pins) {
    let job = Job::round_trip(SMALL, pins);
    let name = |what: &str| format!("64 B round trip by {what}, {}", pins.name());
    let into = || {
        side("Connection", move |round| {
            messages::round_trip(job, round, || both(connections(), |c| Ours::into(c, SMALL)))
        })
    };
    let bare = || {
        side("bare socket pair", move |round| {
            let buffer = || To::Buffer(vec![0; SMALL]);
            messages::round_trip(job, round, || {
                both(socket_pair(None), |s| Bare(s, buffer()))
            })
        })
    };
    let fresh = side("Connection", |round| {
        messages::round_trip(job, round, || both(connections(), Ours::Fresh))
    });
    bench.compare(&name("recv_bytes"), judged(pins, 1.15), fresh, vec![bare()]);
    bench.compare(
        &name("recv_bytes_into"),
        judged(pins, 1.15),
        into(),
        vec![bare()],
    );
    let buffered = side("BufferedConnection", |round| {
        messages::round_trip(job, round, || both(streams(), Buffered::new))
    });
    bench.compare(
        &name("recv_bytes_into, buffered"),
        judged(pins, 1.15),
        buffered,
        vec![bare()],
    );
    // The same bytes: what frames cost stands on both sides.
    bench.compare(
        &name("recv_bytes_into, against frames"),
        Bound::None,
        into(),
        vec![
            side("frames by hand", |round| {
                messages::round_trip(job, round, || both(socket_pair(None), framed))
            }),
            side("the same, read ahead", |round| {
                messages::round_trip(job, round, || both(socket_pair(None), Ahead::new))
            }),
        ],
    );
}

fn small_one_way(bench: &mut Bench, pins: Pins) {
    let job = Job::one_way(SMALL, 1, 1, pins);
    bench.compare(
        &format!("64 B one-way by recv_bytes_into, {}", pins.name()),
        Bound::None,
        side("Connection", |round| {
            messages::one_way(job, round, || both(connections(), |c| Ours::into(c, SMALL)))
        }),
        vec![
            side("bare socket pair", |round| {
                let buffer = || To::Buffer(vec![0; SMALL]);
                messages::one_way(job, round, || {
                    both(socket_pair(None), |s| Bare(s, buffer()))
                })
            }),
            side("frames by hand", |round| {
                messages::one_way(job, round, || both(socket_pair(None), framed))
            }),
        ],
    );
    bench.compare(
        &format!("64 B one-way by recv_bytes_into, buffered, {}", pins.name()),
        Bound::None,
        side("BufferedConnection", |round| {
            messages::one_way(job, round, || both(streams(), Buffered::new))
        }),
        vec![side("frames by hand, read ahead", |round| {
            messages::one_way(job, round, || both(socket_pair(None), Ahead::new))
        })],
    );
}

fn large_one_way(bench: &mut Bench, size: usize, size_name: &str, pins: Pins) {
    let job = Job::one_way(size, 1, 1, pins);
    let name = |what: &str| format!("{size_name} one-way by {what}, {}", pins.name());
    // For a few messages at least.
    let rounds = if size >= 64 * MIB { 4 } else { 1 };
    let bare = |name, to: fn(usize) -> To| {
        side(name, move |round| {
            let make = || both(socket_pair(LARGE_BUFFER), |s| Bare(s, to(size)));
            messages::one_way(job, round * rounds, make)
        })
    };
    let mut peers = vec![bare("bare socket pair, large buffer", To::NewVec)];
    if size >= MIB {
        peers.push(bare("the same, MADV_HUGEPAGE", To::NewHugeVec));
    }
    bench.compare(
        &name("recv_bytes"),
        judged(pins, 1.3),
        side("Connection", |round| {
            messages::one_way(job, round * rounds, || both(connections(), Ours::Fresh))
        }),
        peers,
    );
    bench.compare(
        &name("recv_bytes_into"),
        judged(pins, 1.3),
        side("Connection", |round| {
            let make = || both(connections(), |c| Ours::into(c, size));
            messages::one_way(job, round * rounds, make)
        }),
        vec![bare("bare socket pair, large buffer", |size| {
            To::Buffer(vec![1; size])
        })],
    );
}

fn framed(socket: UnixStream) -> Framed {
    Framed(socket, vec![0; SMALL])
}

/// Both ends of a pair, each made into what a process of the round holds.
fn both<E, T>(pair: (E, E), end: impl Fn(E) -> T) -> (T, T) {
    (end(pair.0), end(pair.1))
}

type Bytes = Connection<(), ()>;

/// An end of ours, and where it receives to.
enum Ours {
    Fresh(Bytes),
    Into(Bytes, Vec<u8>),
}

fn connections() -> (Bytes, Bytes) {
    Pipe().unwrap()
}

/// Where reading ahead has something to read.
fn streams() -> (Bytes, Bytes) {
    StreamPipe().unwrap()
}

impl Ours {
    fn into(connection: Bytes, size: usize) -> Ours {
        Ours::Into(connection, vec![1; size])
    }
}

impl Sender for Ours {
    fn send(&mut self, message: &[u8]) {
        let (Ours::Fresh(connection) | Ours::Into(connection, _)) = self;
        connection.send_bytes(message).unwrap();
    }
}

impl Receiver for Ours {
    fn receive<T>(&mut self, look: impl FnOnce(&[u8]) -> T) -> T {
        match self {
            Ours::Fresh(connection) => look(&connection.recv_bytes().unwrap()),
            Ours::Into(connection, buffer) => {
                let length = connection.recv_bytes_into(buffer).unwrap();
                look(&buffer[..length])
            }
        }
    }
}

/// An end of ours that reads ahead, and where it receives to.
struct Buffered(BufferedConnection<(), ()>, Vec<u8>);

impl Buffered {
    fn new(connection: Bytes) -> Buffered {
        Buffered(connection.buffered(), vec![1; SMALL])
    }
}

impl Sender for Buffered {
    fn send(&mut self, message: &[u8]) {
        self.0.send_bytes(message).unwrap();
    }
}

impl Receiver for Buffered {
    fn receive<T>(&mut self, look: impl FnOnce(&[u8]) -> T) -> T {
        let length = self.0.recv_bytes_into(&mut self.1).unwrap();
        look(&self.1[..length])
    }
}

/// Where a bare socket's receiver, which knows how long each message is, reads to.
enum To {
    Buffer(Vec<u8>),
    NewVec(usize),
    /// As [`To::NewVec`], with the kernel's advice about large memory.
    NewHugeVec(usize),
}

/// A socket without frames.
struct Bare(UnixStream, To);

impl Sender for Bare {
    fn send(&mut self, message: &[u8]) {
        self.0.write_all(message).unwrap();
    }
}

impl Receiver for Bare {
    fn receive<T>(&mut self, look: impl FnOnce(&[u8]) -> T) -> T {
        let size = match &mut self.1 {
            To::Buffer(buffer) => {
                self.0.read_exact(buffer).unwrap();
                return look(buffer);
            }
            To::NewVec(size) | To::NewHugeVec(size) => *size,
        };
        let mut message = Vec::with_capacity(size);
        if let To::NewHugeVec(_) = self.1 {
            advise_huge_pages(&mut message);
        }
        while message.len() < size {
            read_spare(&self.0, &mut message, size);
        }
        look(&message)
    }
}

/// Reads to the end of `message`, up to `size` bytes in all, without having zeroed that memory.
fn read_spare(socket: &UnixStream, message: &mut Vec<u8>, size: usize) {
    let room = size - message.len();
    let spare = &mut message.spare_capacity_mut()[..room];
    // SAFETY: the memory is the vector's own, `room` bytes long.
    let count = unsafe { libc::read(socket.as_raw_fd(), spare.as_mut_ptr().cast(), room) };
    assert!(count > 0, "{}", std::io::Error::last_os_error());
    // SAFETY: the kernel has written so many bytes.
    unsafe { message.set_len(message.len() + count as usize) };
}

fn advise_huge_pages(message: &mut Vec<u8>) {
    const PAGE: usize = 4096;
    let spare = message.spare_capacity_mut();
    let first = spare.as_ptr().align_offset(PAGE);
    let pages = (spare.len() - first) / PAGE * PAGE;
    let from = spare[first..].as_mut_ptr();
    // SAFETY: advice about whole pages of our own, which changes no contents.
    unsafe { libc::madvise(from.cast(), pages, libc::MADV_HUGEPAGE) };
}

/// Our frames by hand: a length and the message in one write, read one after the other.
struct Framed(UnixStream, Vec<u8>);

fn send_frame(mut socket: &UnixStream, message: &[u8]) {
    let header = (message.len() as u32).to_be_bytes();
    let parts = [IoSlice::new(&header), IoSlice::new(message)];
    let written = socket.write_vectored(&parts).unwrap();
    assert_eq!(written, header.len() + message.len(), "a short write");
}

impl Sender for Framed {
    fn send(&mut self, message: &[u8]) {
        send_frame(&self.0, message);
    }
}

impl Receiver for Framed {
    fn receive<T>(&mut self, look: impl FnOnce(&[u8]) -> T) -> T {
        let mut header = [0; 4];
        self.0.read_exact(&mut header).unwrap();
        let message = &mut self.1[..u32::from_be_bytes(header) as usize];
        self.0.read_exact(message).unwrap();
        look(message)
    }
}

/// Our frames by hand, read with whatever comes after them: one read where a Connection has two. What was read too far is
/// in this process alone, and nobody who waits for the descriptor learns of it: a Connection cannot do this, and a
/// BufferedConnection does.
struct Ahead {
    socket: UnixStream,
    buffer: Vec<u8>,
    /// What of the buffer has been read and not been received.
    there: Range<usize>,
}

impl Ahead {
    fn new(socket: UnixStream) -> Ahead {
        Ahead {
            socket,
            buffer: vec![0; 64 * KIB],
            there: 0..0,
        }
    }

    /// The next `length` bytes.
    fn next(&mut self, length: usize) -> Range<usize> {
        if self.there.len() < length {
            self.buffer.copy_within(self.there.clone(), 0);
            self.there = 0..self.there.len();
            while self.there.len() < length {
                let count = self.socket.read(&mut self.buffer[self.there.end..]);
                self.there.end += count.unwrap();
            }
        }
        let next = self.there.start..self.there.start + length;
        self.there.start = next.end;
        next
    }
}

impl Sender for Ahead {
    fn send(&mut self, message: &[u8]) {
        send_frame(&self.socket, message);
    }
}

impl Receiver for Ahead {
    fn receive<T>(&mut self, look: impl FnOnce(&[u8]) -> T) -> T {
        let header = self.next(4);
        let length = u32::from_be_bytes(self.buffer[header].try_into().expect("four bytes"));
        let message = self.next(length as usize);
        look(&self.buffer[message])
    }
}
