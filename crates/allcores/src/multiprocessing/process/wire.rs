//! What parent and child say to each other over the control socket, and the marker by which a child knows itself.
//!
//! Parent to child: one [`Boot`]. Child to parent: [`Report::Started`], then how it went. Every message is one frame of
//! [`connection`](crate::multiprocessing::connection); what the bytes do not carry goes along as descriptors.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use serde::{Deserialize, Serialize};

use crate::multiprocessing::connection::frame::{Frame, Header, Want};
use crate::multiprocessing::connection::stream::Encoded;
use crate::multiprocessing::transfer::{self, Incoming, Outgoing};
use crate::sys::fds;

/// Raised with every change of what follows. Parent and child run one executable, so this guards against nothing but a
/// file that was changed in place.
pub(crate) const VERSION: u32 = 1;

/// The environment variable that tells a child that it is one.
pub(crate) const MARKER: &str = "ALLCORES_CHILD";

/// What does not fit into this goes through a file in memory, so that no socket buffer is ever full: neither `start` nor
/// a child whose result nobody reads may block.
const INLINE: usize = 32 * 1024;

/// Descriptors of ours in a message: the parent, the arena, the body.
const OURS: usize = 3;

/// What arguments and results may hand over.
pub(crate) fn outgoing() -> Outgoing {
    Outgoing::with_room(transfer::MOST_DESCRIPTORS - OURS)
}

/// The marker's value: the version, the number of the control socket, and that socket's inode, so that a stray marker is
/// never believed.
pub(crate) fn marker(control: i32, inode: u64) -> String {
    format!("{VERSION}:{control}:{inode}")
}

/// The number and the inode in a marker of this version.
pub(crate) fn parse_marker(marker: &str) -> Option<(i32, u64)> {
    let mut parts = marker.split(':');
    let version: u32 = parts.next()?.parse().ok()?;
    let control = parts.next()?.parse().ok()?;
    let inode = parts.next()?.parse().ok()?;
    (version == VERSION && parts.next().is_none()).then_some((control, inode))
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
pub(crate) struct Parcel {
    frame: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

impl Parcel {
    /// `what` with a body. `ours` go before the descriptors that the body's handles handed over.
    pub(crate) fn pack(
        what: impl Serialize,
        body: Option<&Encoded>,
        mut ours: Vec<OwnedFd>,
        handles: Vec<OwnedFd>,
    ) -> std::io::Result<Parcel> {
        let body = body.map_or(&[][..], Encoded::payload);
        let in_file = body.len() > INLINE;
        if in_file {
            ours.push(fds::file_holding(body)?);
        }
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
        ours.extend(handles);
        Ok(Parcel {
            frame,
            descriptors: ours,
        })
    }

    /// Sends it, without ever waiting for room.
    pub(crate) fn send(&self, control: BorrowedFd<'_>) -> std::io::Result<()> {
        let mut descriptors: Vec<_> = self.descriptors.iter().map(AsFd::as_fd).collect();
        let mut sent = 0;
        while sent < self.frame.len() {
            let rest = [std::io::IoSlice::new(&self.frame[sent..])];
            sent += fds::send_now(control, &rest, &descriptors)?;
            descriptors.clear();
        }
        Ok(())
    }
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

/// All that a child has said and the parent has not read. Never waits: the child has ended.
///
/// Descriptors come with the last report alone, which is the only one that has handles.
pub(crate) fn drain(control: BorrowedFd<'_>) -> (Vec<Vec<u8>>, Incoming) {
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
        assert_eq!(parse_marker(&marker(7, 123)), Some((7, 123)));
        for bad in [
            "",
            "1",
            "1:7",
            "1:7:123:4",
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
