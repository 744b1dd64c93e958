//! Sockets that listen and sockets that connect. See socket(7), unix(7), tcp(7).

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::clock::Deadline;
use super::fds;

/// Where a socket is, as the kernel takes it.
#[derive(Clone, Debug)]
pub(crate) enum Name {
    Unix(SocketAddrUnix),
    Inet(SocketAddr),
}

impl Name {
    fn family(&self) -> AddressFamily {
        match self {
            Name::Unix(_) => AddressFamily::UNIX,
            Name::Inet(SocketAddr::V4(_)) => AddressFamily::INET,
            Name::Inet(SocketAddr::V6(_)) => AddressFamily::INET6,
        }
    }

    fn socket(&self) -> Result<OwnedFd, Errno> {
        let flags = SocketFlags::CLOEXEC;
        rustix::net::socket_with(self.family(), SocketType::STREAM, flags, None)
    }

    fn of(name: rustix::net::SocketAddrAny) -> Option<Name> {
        match name.address_family() {
            AddressFamily::UNIX => SocketAddrUnix::try_from(name).ok().map(Name::Unix),
            _ => SocketAddr::try_from(name).ok().map(Name::Inet),
        }
    }
}

/// A socket that listens at `name`. It is non-blocking, so that [`accept`] keeps its deadline.
pub(crate) fn listen(name: &Name, backlog: i32) -> io::Result<OwnedFd> {
    let socket = name.socket()?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    match name {
        Name::Unix(at) => rustix::net::bind(&socket, at)?,
        Name::Inet(at) => {
            // What an earlier server's connections left behind is no obstacle; a server that listens still is one.
            sockopt::set_socket_reuseaddr(&socket, true)?;
            rustix::net::bind(&socket, at)?;
        }
    }
    rustix::net::listen(&socket, backlog)?;
    Ok(socket)
}

/// The next connection, and who it is from. `None` if the deadline passed first.
pub(crate) fn accept(
    listener: BorrowedFd<'_>,
    deadline: Deadline,
) -> io::Result<Option<(OwnedFd, Option<Name>)>> {
    loop {
        match rustix::net::acceptfrom_with(listener, SocketFlags::CLOEXEC) {
            Ok((socket, from)) => return Ok(Some((socket, from.and_then(Name::of)))),
            Err(Errno::AGAIN) => {
                if !fds::wait_readable(listener, deadline)? {
                    return Ok(None);
                }
            }
            // Its client has gone, or its network failed, before we came to it: the next one, please. See accept(2).
            Err(
                Errno::INTR
                | Errno::CONNABORTED
                | Errno::PROTO
                | Errno::NETDOWN
                | Errno::NOPROTOOPT
                | Errno::HOSTDOWN
                | Errno::NONET
                | Errno::HOSTUNREACH
                | Errno::NETUNREACH,
            ) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// A socket that is connected to `name`. `None` if the deadline passed first.
pub(crate) fn connect(name: &Name, deadline: Deadline) -> io::Result<Option<OwnedFd>> {
    let socket = name.socket()?;
    match name {
        // Only a blocking connect waits for room in the backlog, and its limit is the one for sending.
        Name::Unix(at) => loop {
            let left = deadline.remaining();
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(None);
            }
            sockopt::set_socket_timeout(&socket, Timeout::Send, left)?;
            match rustix::net::connect(&socket, at) {
                Ok(()) => break,
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(error) => return Err(error.into()),
            }
        },
        Name::Inet(at) => {
            rustix::io::ioctl_fionbio(&socket, true)?;
            match rustix::net::connect(&socket, at) {
                Ok(()) => {}
                Err(Errno::INTR | Errno::INPROGRESS) => {
                    let of = PollFd::new(&socket, PollFlags::OUT);
                    if fds::poll(&mut [of], deadline)? == 0 {
                        return Ok(None);
                    }
                    sockopt::socket_error(&socket)??;
                }
                Err(error) => return Err(error.into()),
            }
            rustix::io::ioctl_fionbio(&socket, false)?;
        }
    }
    sockopt::set_socket_timeout(&socket, Timeout::Send, None)?;
    Ok(Some(socket))
}

/// Where this end of a socket is.
pub(crate) fn own_name(socket: impl AsFd) -> io::Result<Option<Name>> {
    Ok(Name::of(rustix::net::getsockname(socket)?))
}

/// Where the far end of a socket is.
pub(crate) fn far_name(socket: impl AsFd) -> io::Result<Option<Name>> {
    Ok(rustix::net::getpeername(socket)?.and_then(Name::of))
}

/// Sends every message at once, rather than wait for more of them to fill a packet.
pub(crate) fn set_no_delay(socket: impl AsFd) -> io::Result<()> {
    Ok(sockopt::set_tcp_nodelay(socket, true)?)
}

/// Whether the far end of a local socket listened, or connected, in this very process.
pub(crate) fn far_end_is_me(socket: BorrowedFd<'_>) -> bool {
    // Not by rustix: its `Pid` cannot be 0, which is what a process outside our pid namespace has.
    let mut who = libc::ucred {
        pid: 0,
        uid: 0,
        gid: 0,
    };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: both pointers are to locals, and `length` is the size of what the first one points to.
    let failed = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut who).cast(),
            &raw mut length,
        )
    };
    failed == 0 && who.pid != 0 && who.pid as u32 == std::process::id()
}

/// Whether some process has a socket open at this path. It does not notice.
pub(crate) fn is_in_use(at: &SocketAddrUnix) -> io::Result<bool> {
    // A stream socket would be connected. One of another type is refused as such; where nobody is at home, as that.
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let probe = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
    match rustix::net::connect(&probe, at) {
        Err(Errno::CONNREFUSED) => Ok(false),
        Ok(()) | Err(Errno::PROTOTYPE) => Ok(true),
        Err(error) => Err(error.into()),
    }
}
