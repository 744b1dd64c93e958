//! What parent and child say to each other over the control socket, and the marker by which a child knows itself.
//!
//! Parent to child: one [`Boot`]. Child to parent: [`Report::Started`], then how it went. Every message is one frame of
//! [`connection`](crate::multiprocessing::connection); what the bytes do not carry goes along as descriptors.
//!
//! A process and its fork server have a socket of their own, which keeps messages apart: one [`Serve`] there, one
//! [`Hello`] back, and from then on a [`Request`] and its [`Reply`], one after the other. What the child is to be goes to it
//! alone, in its [`Boot`].

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use serde::{Deserialize, Serialize};

use super::StartMethod;
use crate::multiprocessing::connection::frame::{Frame, Header, Want};
use crate::multiprocessing::connection::stream::Encoded;
use crate::multiprocessing::transfer::{self, Incoming, Outgoing};
use crate::sys::clock::Deadline;
use crate::sys::fds;
use crate::sys::standing::Place;
use crate::sys::surroundings::Surroundings;

/// Raised with every change of what follows. Parent and child run one executable, so this guards against nothing but a
/// file that was changed in place.
pub(crate) const VERSION: u32 = 1;

/// The environment variable that tells a child that it is one.
pub(crate) const MARKER: &str = "ALLCORES_CHILD";

/// What does not fit into this goes through a file in memory, so that no socket buffer is ever full: neither `start` nor
/// a child whose result nobody reads may block.
pub(crate) const INLINE: usize = 32 * 1024;

/// Of a process's name, in bytes. It and the parent's lie in the head of the orders, which is bounded as well.
pub(crate) const LONGEST_NAME: usize = 16 * 1024;

/// Descriptors of ours in a message: the parent, the arena, the body; the directory, three streams, the environment.
const OURS: usize = 8;

/// What arguments and results may hand over.
pub(crate) fn outgoing() -> Outgoing {
    Outgoing::with_room(transfer::MOST_DESCRIPTORS - OURS)
}

/// What a process was started for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// To run a function.
    Child,
    /// To be a fork server.
    Zygote,
}

const ZYGOTE: &str = "zygote";

/// The marker's value: the version, the number of the control socket, and that socket's inode, so that a stray marker is
/// never believed; and a word more for a fork server.
pub(crate) fn marker(role: Role, control: i32, inode: u64) -> String {
    match role {
        Role::Child => format!("{VERSION}:{control}:{inode}"),
        Role::Zygote => format!("{VERSION}:{control}:{inode}:{ZYGOTE}"),
    }
}

/// The role, the number and the inode in a marker of this version.
pub(crate) fn parse_marker(marker: &str) -> Option<(Role, i32, u64)> {
    let mut parts = marker.split(':');
    let version: u32 = parts.next()?.parse().ok()?;
    let control = parts.next()?.parse().ok()?;
    let inode = parts.next()?.parse().ok()?;
    let role = match parts.next() {
        None => Role::Child,
        Some(ZYGOTE) => Role::Zygote,
        Some(_) => return None,
    };
    (version == VERSION && parts.next().is_none()).then_some((role, control, inode))
}

/// What a child must know to begin.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Boot {
    pub(crate) version: u32,
    pub(crate) fingerprint: Vec<u8>,
    /// Where in the image the code is that runs the function.
    pub(crate) offset: u64,
    pub(crate) name: String,
    pub(crate) identity: Vec<u32>,
    pub(crate) daemon: bool,
    pub(crate) parent_pid: u32,
    pub(crate) parent_name: String,
    /// Whether the second descriptor is the parent's arena.
    pub(crate) has_arena: bool,
    /// How it shall start processes itself, if somebody has chosen.
    pub(crate) method: Option<StartMethod>,
    /// For one that is a fork server's.
    pub(crate) inherited: Option<Inherited>,
}

/// What a fork server must know to begin. Descriptors: the process that it serves, and its arena if there is one.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Serve {
    pub(crate) version: u32,
    pub(crate) fingerprint: Vec<u8>,
    /// Where in the image the code is that runs before the first fork.
    pub(crate) preload: Option<u64>,
    pub(crate) has_arena: bool,
}

/// What a fork server says when it is ready, or why it never will be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Hello {
    /// It forks on request.
    Ready {
        /// Whether the kernel tells how its children end; otherwise it does.
        kernel_tells: bool,
        /// What its children have as long as nobody tells them otherwise.
        directory: Place,
        surroundings: Box<Surroundings>,
    },
    /// Besides its own there are threads, so that a fork is not safe.
    Threads { more: u32, by_preload: bool },
    /// The preload function has panicked.
    PreloadPanicked {
        message: String,
        location: Option<Location>,
    },
    /// It cannot begin.
    Unfit { reason: String },
}

/// Asks for a child. Descriptor: its end of its control socket.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Request;

/// The number of the child, or the error number for which there is none. Descriptors: its pidfd, and, if the server tells
/// how it ends, the pipe by which it will.
pub(crate) type Reply = Result<u32, i32>;

/// What a child would inherit if its parent had made it, as far as it differs from what the server has. Descriptors: the
/// standard streams that are open, the working directory, and the environment if that is long.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Inherited {
    pub(crate) surroundings: Option<Surroundings>,
    pub(crate) another_directory: bool,
    pub(crate) streams: [bool; 3],
    pub(crate) environment: Strings,
}

/// An environment, with a NUL behind each entry.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Strings {
    /// The fork server's own.
    Same,
    Here(Vec<u8>),
    InFile(u64),
}

impl Inherited {
    pub(crate) fn descriptors(&self) -> usize {
        let streams = self.streams.iter().filter(|stream| **stream).count();
        streams
            + usize::from(self.another_directory)
            + usize::from(matches!(self.environment, Strings::InFile(_)))
    }
}

/// What a child says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Report {
    /// The arguments are here, and the function is about to be called.
    Started,
    /// The function was not called.
    NotRun { reason: String },
    /// The function has returned; the body is the result.
    Returned,
    /// The function has returned, but its result cannot be sent.
    ResultNotSent { reason: String },
    /// The function has panicked.
    Panicked {
        message: String,
        location: Option<Location>,
    },
}

/// A place in a source file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Location {
    /// As the compiler names it.
    pub file: String,
    /// Counted from 1.
    pub line: u32,
    /// Counted from 1.
    pub column: u32,
}

impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// The first part of every message; the body follows it, or lies in the last descriptor of ours.
#[derive(Serialize, Deserialize)]
struct Head<T> {
    what: T,
    body_in_file: Option<u64>,
}

/// A message ready to be sent.
pub(crate) struct Parcel<'a> {
    frame: Vec<u8>,
    ours: Vec<BorrowedFd<'a>>,
    file: Option<OwnedFd>,
    handles: &'a [OwnedFd],
}

impl<'a> Parcel<'a> {
    /// `what` with a body. `ours` go before the descriptors that the body's handles handed over.
    pub(crate) fn pack(
        what: impl Serialize,
        body: Option<&Encoded>,
        ours: Vec<BorrowedFd<'a>>,
        handles: &'a [OwnedFd],
    ) -> std::io::Result<Parcel<'a>> {
        let (frame, file) = frame(what, body.map_or(&[][..], Encoded::payload))?;
        Ok(Parcel {
            frame,
            ours,
            file,
            handles,
        })
    }

    /// Sends it, without ever waiting for room.
    pub(crate) fn send(&self, control: BorrowedFd<'_>) -> std::io::Result<()> {
        let mut descriptors = self.ours.clone();
        descriptors.extend(self.file.iter().chain(self.handles).map(AsFd::as_fd));
        let mut sent = 0;
        while sent < self.frame.len() {
            let rest = [std::io::IoSlice::new(&self.frame[sent..])];
            sent += fds::send_now(control, &rest, &descriptors)?;
            descriptors.clear();
        }
        Ok(())
    }
}

/// A message as bytes, and the file that holds its body if that is too long to be among them.
fn frame(what: impl Serialize, body: &[u8]) -> std::io::Result<(Vec<u8>, Option<OwnedFd>)> {
    let in_file = body.len() > INLINE;
    let file = in_file.then(|| fds::file_holding(body)).transpose()?;
    let head = Head {
        what,
        body_in_file: in_file.then_some(body.len() as u64),
    };
    let mut payload = postcard::to_extend(&head, Vec::new()).map_err(std::io::Error::other)?;
    if !in_file {
        payload.extend_from_slice(body);
    }
    let mut frame = Header::new(payload.len() as u64).as_bytes().to_vec();
    frame.append(&mut payload);
    Ok((frame, file))
}

/// Sends `what` and descriptors as one message of a socket that keeps messages apart.
pub(crate) fn send_whole(
    socket: BorrowedFd<'_>,
    what: impl Serialize,
    ours: &[BorrowedFd<'_>],
) -> std::io::Result<()> {
    let (frame, _) = frame(what, &[])?;
    let parts = [std::io::IoSlice::new(&frame)];
    let sent = fds::send(socket, &parts, ours, Deadline::NEVER)?;
    debug_assert_eq!(sent, Some(frame.len()));
    Ok(())
}

/// As [`send_whole`], what takes no more than a few bytes, and without a heap: whoever forks all the time would have each of
/// its pages copied each time.
pub(crate) fn send_small(
    socket: BorrowedFd<'_>,
    what: impl Serialize,
    ours: &[BorrowedFd<'_>],
) -> std::io::Result<()> {
    const HEADER: usize = 4;
    let mut bytes = [0; 64];
    let body_in_file = None;
    let payload = postcard::to_slice(&Head { what, body_in_file }, &mut bytes[HEADER..])
        .map_err(std::io::Error::other)?
        .len();
    bytes[..HEADER].copy_from_slice(Header::new(payload as u64).as_bytes());
    let parts = [std::io::IoSlice::new(&bytes[..HEADER + payload])];
    fds::send(socket, &parts, ours, Deadline::NEVER).map(drop)
}

/// A message as it came.
pub(crate) struct Unpacked<T> {
    pub(crate) what: T,
    pub(crate) ours: Vec<OwnedFd>,
    pub(crate) body: Vec<u8>,
    pub(crate) handles: Incoming,
}

/// Takes a frame's payload apart. `ours` tells how many descriptors, besides the body, are not handles.
pub(crate) fn unpack<T: for<'de> Deserialize<'de>>(
    payload: &[u8],
    incoming: Incoming,
    ours: impl FnOnce(&T) -> usize,
) -> Result<Unpacked<T>, String> {
    let (head, body): (Head<T>, _) =
        postcard::take_from_bytes(payload).map_err(|error| format!("bad message: {error}"))?;
    let cut_short = incoming.cut_short;
    let mut descriptors = incoming.descriptors.into_iter().flatten();
    let ours: Vec<_> = descriptors.by_ref().take(ours(&head.what)).collect();
    let body = match head.body_in_file {
        None => body.to_vec(),
        Some(length) => {
            let file = descriptors
                .next()
                .ok_or("a descriptor is missing: too many open files?")?;
            let length = usize::try_from(length).map_err(|error| error.to_string())?;
            fds::contents(file.as_fd(), length).map_err(|error| error.to_string())?
        }
    };
    Ok(Unpacked {
        what: head.what,
        ours,
        body,
        handles: Incoming::new(descriptors.collect(), cut_short),
    })
}

/// More than any message between a process and its fork server has, unless a panic's words are long.
pub(crate) const MOST_PACKET: usize = 4096;

/// One message of a socket that keeps them apart, and what came with it: `None` at its end.
///
/// # Errors
/// `InvalidData` for what is no message of ours.
pub(crate) fn receive_whole<T: for<'de> Deserialize<'de>>(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    ours: impl FnOnce(&T) -> usize,
) -> std::io::Result<Option<Unpacked<T>>> {
    fds::wait_readable(socket, Deadline::NEVER)?;
    receive_whole_now(socket, buffer, ours)
}

/// As [`receive_whole`], but where nothing has arrived it fails with `WouldBlock`.
pub(crate) fn receive_whole_now<T: for<'de> Deserialize<'de>>(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    ours: impl FnOnce(&T) -> usize,
) -> std::io::Result<Option<Unpacked<T>>> {
    let mut descriptors = Vec::new();
    let received = fds::receive_now(socket, buffer, &mut descriptors)?;
    let bytes = &buffer[..received.bytes];
    if bytes.is_empty() {
        return Ok(None);
    }
    let incoming = Incoming::new(descriptors, received.cut_short);
    let bad = |reason: String| std::io::Error::new(std::io::ErrorKind::InvalidData, reason);
    let [payload] = &frames(bytes)[..] else {
        return Err(bad("not one whole message".into()));
    };
    unpack(payload, incoming, ours).map(Some).map_err(bad)
}

/// The orders of a child, which are all that it is ever told, and all that comes with them: as few calls as they can be had
/// in. `None` at the end of the socket.
///
/// # Errors
/// `InvalidData` for what are no orders.
pub(crate) fn receive_orders(
    control: BorrowedFd<'_>,
) -> std::io::Result<Option<(Vec<u8>, Incoming)>> {
    const HEADER: usize = 4;
    let mut bytes = vec![0; 1024];
    let mut descriptors = Vec::new();
    let mut cut_short = false;
    let mut filled = 0;
    loop {
        let room = &mut bytes[filled..];
        let received = fds::receive(control, room, &mut descriptors, Deadline::NEVER)?
            .expect("without a deadline something comes");
        if received.bytes == 0 {
            return Ok(None);
        }
        cut_short |= received.cut_short;
        filled += received.bytes;
        let Some(header) = bytes[..filled].first_chunk::<HEADER>() else {
            continue;
        };
        let length = usize::try_from(i32::from_be_bytes(*header)).unwrap_or(usize::MAX);
        if length > 4 * INLINE {
            return Err(std::io::ErrorKind::InvalidData.into());
        }
        let whole = HEADER + length;
        if filled >= whole {
            bytes.truncate(whole);
            bytes.drain(..HEADER);
            return Ok(Some((bytes, Incoming::new(descriptors, cut_short))));
        }
        bytes.resize(whole, 0);
    }
}

/// All that a child has said and the parent has not read. Never waits: the child has ended, so that where it has said `most`
/// messages there are no more.
///
/// Descriptors come with the last report alone, which is the only one that has handles.
pub(crate) fn drain(control: BorrowedFd<'_>, most: usize) -> (Vec<Vec<u8>>, Incoming) {
    let mut bytes = Vec::new();
    let mut descriptors = Vec::new();
    let mut cut_short = false;
    let mut piece = [0; 4096];
    while let Ok(received) = fds::receive_now(control, &mut piece, &mut descriptors) {
        if received.bytes == 0 {
            break;
        }
        cut_short |= received.cut_short;
        bytes.extend_from_slice(&piece[..received.bytes]);
        let said = frames(&bytes);
        if said.len() >= most {
            return (said, Incoming::new(descriptors, cut_short));
        }
    }
    (frames(&bytes), Incoming::new(descriptors, cut_short))
}

/// The payloads of all whole frames; what is cut off (its writer was killed) is left out.
fn frames(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut payloads = Vec::new();
    let mut frame = Frame::new(None);
    let mut payload = &[][..];
    loop {
        match frame.wants() {
            Want::Header(most) => match bytes.split_at_checked(most) {
                Some((header, rest)) if frame.header(header).is_ok() => bytes = rest,
                _ => return payloads,
            },
            Want::Payload(most) => match bytes.split_at_checked(most as usize) {
                Some((whole, rest)) => {
                    frame.payload(most);
                    (payload, bytes) = (whole, rest);
                }
                None => return payloads,
            },
            Want::Nothing => {
                payloads.push(std::mem::take(&mut payload).to_vec());
                frame = Frame::new(None);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_says_what_it_was_told() {
        for role in [Role::Child, Role::Zygote] {
            assert_eq!(parse_marker(&marker(role, 7, 123)), Some((role, 7, 123)));
        }
        for bad in [
            "",
            "1",
            "1:7",
            "1:7:123:4",
            "1:7:123:zygote:5",
            "0:7:123",
            "1:x:123",
            "1:7:-1",
            "1: 7:123",
        ] {
            assert_eq!(parse_marker(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_report_that_was_cut_off_is_left_out() {
        let whole: Vec<u8> = [&b"\0\0\0\x05first"[..], b"\0\0\0\0", b"\0\0\0\x04last"].concat();
        assert_eq!(frames(&whole), [&b"first"[..], b"", b"last"]);
        for cut in 0..whole.len() {
            let expected = match cut {
                ..9 => 0,
                9..13 => 1,
                _ => 2,
            };
            assert_eq!(frames(&whole[..cut]).len(), expected, "cut at {cut}");
        }
        assert!(frames(b"\xff\xff\xff\xfe").is_empty());
    }
}
