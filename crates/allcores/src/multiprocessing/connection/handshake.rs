//! The handshake on a fresh connection: the I/O around [`auth`](super::auth), under one deadline.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use super::auth::{self, AuthError, AuthKey, Challenges, Digest, Handshake, Next, Role, Within};
use super::error::{RecvError, SendError};
use super::frame::Header;
use super::stream::Stream;
use crate::sys::clock::Deadline;
use crate::sys::fds::{self, Channel};
use crate::sys::net::{self, Name};

/// Why two ends did not come together, though the connection between them stood.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// One does not trust the other.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// The peer closed the connection.
    #[error(
        "the peer closed the connection during the handshake: it may have another authkey, use none, or have died"
    )]
    Closed,
    /// The peer took too long.
    #[error(
        "the handshake did not come to its end in time: the peer may use no authkey, be busy, or be hostile"
    )]
    TooSlow,
    /// What came is no frame of a handshake.
    #[error("the peer does not speak this protocol")]
    NoFrame(#[source] RecvError),
    /// The system refused.
    #[error("the handshake failed")]
    Io(#[source] io::Error),
}

impl From<RecvError> for HandshakeError {
    fn from(error: RecvError) -> HandshakeError {
        match error {
            RecvError::Closed | RecvError::Truncated { .. } => HandshakeError::Closed,
            RecvError::TooSlow { .. } => HandshakeError::TooSlow,
            RecvError::Io(error) => HandshakeError::Io(error),
            other => HandshakeError::NoFrame(other),
        }
    }
}

impl From<SendError> for HandshakeError {
    fn from(error: SendError) -> HandshakeError {
        match error {
            SendError::TimedOut | SendError::TooSlow => HandshakeError::TooSlow,
            SendError::Io(error) => HandshakeError::Io(error),
            _ => HandshakeError::Closed,
        }
    }
}

/// The channel over a socket that has just been connected, once its far end has shown that it has the key, if there is one.
pub(super) fn greet(
    socket: OwnedFd,
    key: Option<&AuthKey>,
    role: Role,
    deadline: Deadline,
) -> Result<Stream, HandshakeError> {
    let own = net::own_name(&socket).map_err(HandshakeError::Io)?;
    let channel = match own {
        Some(Name::Inet(_)) => {
            net::set_no_delay(&socket).map_err(HandshakeError::Io)?;
            Channel::Network
        }
        _ => {
            fds::widen(socket.as_fd());
            Channel::Socket
        }
    };
    let within = within(&socket, own);
    let stream = Stream::with_stranger(socket, channel, true);
    let Some(key) = key else {
        return Ok(stream);
    };
    let random = random().map_err(HandshakeError::Io)?;
    let challenges = Challenges::of_this_process();
    let mut handshake = Handshake::new(key, role, Digest::Sha256, random, challenges, within);
    loop {
        match handshake.step() {
            Next::Send(frame) => {
                let header = Header::new(frame.len() as u64);
                let sent = stream.send_by(header.as_bytes(), &frame, &[], deadline);
                if let Err(error) = sent {
                    // Whoever does not wait to hear that it failed has failed nevertheless.
                    return Err(match handshake.step() {
                        Next::Failed(reason) => reason.into(),
                        _ => error.into(),
                    });
                }
            }
            Next::Receive => {
                let received = stream.receive_by(Some(auth::MOST_FRAME), deadline)?;
                let (frame, _) = received.ok_or(HandshakeError::TooSlow)?;
                handshake.receive(&frame);
            }
            Next::Done => return Ok(stream),
            Next::Failed(reason) => return Err(reason.into()),
        }
    }
}

/// What both ends have in common if both belong to this process.
fn within(socket: &OwnedFd, own: Option<Name>) -> Option<Within> {
    match own {
        Some(Name::Inet(one)) => match net::far_name(socket) {
            Ok(Some(Name::Inet(other))) => {
                let (one, other) = (canonical(one), canonical(other));
                Some(Within::Line(one.min(other), one.max(other)))
            }
            _ => None,
        },
        _ => net::far_end_is_me(socket.as_fd()).then_some(Within::Process),
    }
}

/// An IPv4 address may be written as an IPv6 one, at one end and not at the other.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn random() -> io::Result<[u8; auth::RANDOM]> {
    let mut bytes = [0; auth::RANDOM];
    let mut filled = 0;
    while filled < bytes.len() {
        let flags = rustix::rand::GetRandomFlags::empty();
        filled += rustix::rand::getrandom(&mut bytes[filled..], flags)?;
    }
    Ok(bytes)
}
