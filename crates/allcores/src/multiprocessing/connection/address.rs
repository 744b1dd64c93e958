//! Where a Listener is.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::net::SocketAddrUnix;

use crate::sys::net::Name;

/// Where a [`Listener`](super::Listener) is, or a client.
///
/// | | Python's | carries handles |
/// |---|---|---|
/// | [`Address::unix`] | a string | yes |
/// | [`Address::abstract_name`] | a string that begins with `\0` | yes |
/// | [`Address::tcp`] | a pair | no: bytes only |
///
/// ```
/// use allcores::multiprocessing::connection::Address;
/// assert_eq!(Address::unix("/run/service/socket").to_string(), "/run/service/socket");
/// assert_eq!(Address::abstract_name("service").to_string(), "@service");
/// assert_eq!(Address::tcp("localhost:7000").to_string(), "localhost:7000");
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Address(Kind);

#[derive(Clone, PartialEq, Eq, Hash)]
enum Kind {
    Unix(PathBuf),
    Abstract(Vec<u8>),
    Unnamed,
    /// Not resolved yet.
    Host(String),
    Tcp(SocketAddr),
}

impl Address {
    /// A socket in the file system, 107 bytes of path at most. Who may connect is decided by the permissions of the
    /// file and of its folder.
    pub fn unix(path: impl AsRef<Path>) -> Address {
        Address(Kind::Unix(path.as_ref().into()))
    }

    /// A name without a file, 107 bytes at most, seen by every program of this machine (of this network namespace): use an
    /// authkey.
    pub fn abstract_name(name: impl AsRef<[u8]>) -> Address {
        Address(Kind::Abstract(name.as_ref().into()))
    }

    /// `host:port` or `[::1]:port`, on this machine or another. Port 0 lets a Listener have any that is free. The bytes
    /// on the wire are neither encrypted nor protected against change: the authkey tells who connected, and no more.
    pub fn tcp(host_and_port: impl ToString) -> Address {
        let host = host_and_port.to_string();
        Address(match host.parse() {
            Ok(resolved) => Kind::Tcp(resolved),
            Err(_) => Kind::Host(host),
        })
    }

    /// For a [`Listener`](super::Listener): an abstract name that nobody has, chosen by the kernel. As what
    /// [`Listener::last_accepted`](super::Listener::last_accepted) tells: a local client, which has no name as a rule.
    pub fn unnamed() -> Address {
        Address(Kind::Unnamed)
    }

    /// The path of a socket in the file system.
    pub fn as_path(&self) -> Option<&Path> {
        match &self.0 {
            Kind::Unix(path) => Some(path),
            _ => None,
        }
    }

    /// The abstract name, without the zero byte in front.
    pub fn as_abstract_name(&self) -> Option<&[u8]> {
        match &self.0 {
            Kind::Abstract(name) => Some(name),
            _ => None,
        }
    }

    /// The network address, once it is resolved: what a Listener or a client is told to have.
    pub fn as_socket_addr(&self) -> Option<SocketAddr> {
        match &self.0 {
            Kind::Tcp(address) => Some(*address),
            _ => None,
        }
    }

    /// What the kernel would take: several where a host has several addresses.
    pub(super) fn names(&self) -> io::Result<Vec<Name>> {
        let too_long = |what: &str, length: usize| {
            let text =
                format!("a socket's {what} has 107 bytes at most, and this one has {length}");
            io::Error::new(io::ErrorKind::InvalidInput, text)
        };
        Ok(match &self.0 {
            Kind::Unix(path) => {
                let length = path.as_os_str().len();
                if length > LONGEST {
                    return Err(too_long("path", length));
                }
                if path.as_os_str().as_bytes().is_empty() {
                    let text = "a socket's path is not empty: see Address::unnamed()";
                    return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
                }
                vec![Name::Unix(SocketAddrUnix::new(path)?)]
            }
            Kind::Abstract(name) if name.len() > LONGEST => {
                return Err(too_long("abstract name", name.len()));
            }
            Kind::Abstract(name) => vec![Name::Unix(SocketAddrUnix::new_abstract_name(name)?)],
            Kind::Unnamed => vec![Name::Unix(SocketAddrUnix::new_unnamed())],
            Kind::Tcp(address) => vec![Name::Inet(*address)],
            Kind::Host(host) => host.to_socket_addrs()?.map(Name::Inet).collect(),
        })
    }

    pub(super) fn of(name: Option<Name>) -> Address {
        Address(match name {
            Some(Name::Inet(address)) => Kind::Tcp(address),
            Some(Name::Unix(name)) => match (name.path_bytes(), name.abstract_name()) {
                (Some(path), _) => Kind::Unix(std::ffi::OsStr::from_bytes(path).into()),
                (None, Some(name)) if !name.is_empty() => Kind::Abstract(name.into()),
                _ => Kind::Unnamed,
            },
            None => Kind::Unnamed,
        })
    }
}

/// The longest path, and the longest abstract name.
const LONGEST: usize = 107;

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Unix(path) => path.display().fmt(f),
            Kind::Abstract(name) => write!(f, "@{}", name.escape_ascii()),
            Kind::Unnamed => f.write_str("(unnamed)"),
            Kind::Host(host) => f.write_str(host),
            Kind::Tcp(address) => address.fmt(f),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}
