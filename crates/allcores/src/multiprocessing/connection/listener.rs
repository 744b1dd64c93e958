//! Who waits for connections.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use super::auth::{AuthKey, Role};
use super::handshake::{self, HandshakeError};
use super::{Address, Connection};
use crate::sys::clock::Deadline;
use crate::sys::local::Local;
use crate::sys::net::{self, Name};

/// How long a client's handshake may take, unless the builder says otherwise.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// How many connections may wait for accept, unless the builder says otherwise.
const BACKLOG: u32 = 128;

/// Why a [`Listener`] could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// Somebody listens there.
    #[error("another program listens at {address}: end it, or choose another address")]
    InUse {
        /// Where.
        address: Address,
    },
    /// A file is there whose owner did not remove it.
    #[error(
        "{address} is the socket of a program that has ended without removing it (killed, as a rule): remove the file, and try again"
    )]
    Stale {
        /// Where.
        address: Address,
    },
    /// A file is there that is no socket.
    #[error("{address} exists and is no socket: choose another path")]
    NoSocket {
        /// Where.
        address: Address,
    },
    /// The system refused.
    #[error("nobody can listen at {address}")]
    Io {
        /// Where.
        address: Address,
        /// What it says.
        #[source]
        source: io::Error,
    },
}

/// Why [`Listener::accept`] brought no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AcceptError {
    /// This client did not pass the handshake. The next one may: go on accepting.
    #[error("a client at {client} was not let in")]
    Handshake {
        /// Where it came from; local clients have no name as a rule.
        client: Address,
        /// What was wrong.
        #[source]
        source: HandshakeError,
    },
    /// The system refused: no free descriptors, as a rule. Free some before you go on accepting.
    #[error("no connection can be accepted")]
    Io(#[from] io::Error),
}

/// A place to which other programs connect, by [`Client`](super::Client) or by Python's `multiprocessing.connection`.
///
/// The [`Connection`]s that come of it lead to programs that need not be relatives. Whether they are to be trusted is a matter of the
/// authkey and of who can reach the address. Handles to what all relatives share (`mp::Lock::new` and the like) do not
/// travel over them; what was made in a separate arena does, if the address is local.
///
/// With an authkey both ends show that they have it, without sending it: CPython's handshake, exactly. It says who
/// connected. It does not protect what follows, and a program in the middle that passes all bytes on is not noticed: keep
/// the address to those who may know (file permissions, the loopback interface).
///
/// ```
/// use allcores::multiprocessing::connection::{Address, Client, Connection, Listener};
/// let listener = Listener::at(Address::unnamed()).authkey(b"secret").bind()?;
/// let address = listener.address().clone();
/// let client = std::thread::spawn(move || {
///     let server: Connection<String, usize> = Client::to(address).authkey(b"secret").connect().unwrap();
///     server.send(&"four".to_owned()).unwrap();
///     server.recv().unwrap()
/// });
/// let connection: Connection<usize, String> = listener.accept()?;
/// connection.send(&connection.recv()?.len())?;
/// assert_eq!(client.join().unwrap(), 4);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// It can be waited for, among other things: see [`wait`](super::wait). Dropped, it ends: clients that were not accepted
/// yet see the end of their stream, and the socket in the file system is removed, if this is the process that made it and the
/// file is the one that it made. A killed process leaves the file behind.
pub struct Listener {
    #[expect(
        dead_code,
        reason = "it is there to be dropped, and before the socket: nobody finds it stale"
    )]
    file: Option<SocketFile>,
    socket: OwnedFd,
    address: Address,
    key: Option<AuthKey>,
    handshake: Duration,
    last_accepted: Local<Option<Address>>,
}

/// How a [`Listener`] will be.
#[must_use = "nobody listens before bind()"]
#[derive(Clone, Debug)]
pub struct ListenerBuilder {
    address: Address,
    key: Option<AuthKey>,
    backlog: u32,
    handshake: Duration,
}

impl Listener {
    /// At `address`, once [`ListenerBuilder::bind`] is called.
    pub fn at(address: Address) -> ListenerBuilder {
        ListenerBuilder {
            address,
            key: None,
            backlog: BACKLOG,
            handshake: HANDSHAKE,
        }
    }

    /// Waits for a client and lets it in. Several threads may do so at once, and each shakes hands with a client of its own.
    ///
    /// The two ends must agree on the types and on the codec, which nobody checks before the first message.
    ///
    /// # Errors
    /// [`AcceptError::Handshake`] for a client that does not know the authkey, speaks another protocol, is too slow, or
    /// has gone: it costs the time that its handshake may take, and the Listener is as good as before.
    /// [`AcceptError::Io`] where the system is at its end.
    pub fn accept<S, R, C>(&self) -> Result<Connection<S, R, C>, AcceptError> {
        let accepted = self.accept_by(Deadline::NEVER)?;
        Ok(accepted.expect("only a deadline ends without a client or an error"))
    }

    /// As [`Listener::accept`], but gives up when no client has come for so long: `None`. The handshake with a client
    /// that has come may take its own time.
    ///
    /// # Errors
    /// As [`Listener::accept`].
    pub fn accept_timeout<S, R, C>(
        &self,
        timeout: Duration,
    ) -> Result<Option<Connection<S, R, C>>, AcceptError> {
        self.accept_by(Deadline::after(timeout))
    }

    fn accept_by<S, R, C>(
        &self,
        deadline: Deadline,
    ) -> Result<Option<Connection<S, R, C>>, AcceptError> {
        let Some((socket, from)) = net::accept(self.socket.as_fd(), deadline)? else {
            return Ok(None);
        };
        let client = Address::of(from);
        *self.last_accepted.lock() = Some(client.clone());
        let until = Deadline::after(self.handshake);
        match handshake::greet(socket, self.key.as_ref(), Role::Acceptor, until) {
            Ok(stream) => Ok(Some(Connection::through(stream))),
            Err(source) => Err(AcceptError::Handshake { client, source }),
        }
    }

    /// Where clients find it: with the port, or the name, that the kernel chose.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Where the client came from that was accepted last, let in or not. Local clients have no name as a rule.
    pub fn last_accepted(&self) -> Option<Address> {
        self.last_accepted.lock().clone()
    }

    /// Closes it; dropping it does the same. Connections that it has accepted stay.
    pub fn close(self) {}
}

impl ListenerBuilder {
    /// Lets in only who has the same key, and shows clients that it has it. Without a key everybody is let in.
    pub fn authkey(self, key: impl AsRef<[u8]>) -> ListenerBuilder {
        ListenerBuilder {
            key: Some(AuthKey::new(key)),
            ..self
        }
    }

    /// How many clients may wait for [`Listener::accept`] (128; the system has a bound of its own, `net.core.somaxconn`). More
    /// of them wait in their `connect`.
    pub fn backlog(self, clients: u32) -> ListenerBuilder {
        ListenerBuilder {
            backlog: clients,
            ..self
        }
    }

    /// How long one client's handshake may take, all of it (5 s). A client that is slower, however it goes about it, is
    /// an error of that one [`Listener::accept`].
    pub fn handshake_timeout(self, timeout: Duration) -> ListenerBuilder {
        ListenerBuilder {
            handshake: timeout,
            ..self
        }
    }

    /// Listens from now on.
    ///
    /// # Errors
    /// An address that is in use, or that cannot be had here. A socket file that a killed program left behind is
    /// [`BindError::Stale`]: it is not removed, since two programs that do so at once end up with one of them unreachable.
    pub fn bind(self) -> Result<Listener, BindError> {
        let (socket, name) = match self.socket() {
            Ok(made) => made,
            Err(error) => return Err(self.explain(error)),
        };
        let file = SocketFile::of(&self.address);
        let address = match name {
            // As it was given.
            Some(Name::Unix(name)) if name.path_bytes().is_some() => self.address,
            name => Address::of(name),
        };
        Ok(Listener {
            file,
            socket,
            address,
            key: self.key,
            handshake: self.handshake,
            last_accepted: Local::new(None),
        })
    }

    fn socket(&self) -> io::Result<(OwnedFd, Option<Name>)> {
        let backlog = i32::try_from(self.backlog).unwrap_or(i32::MAX);
        let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for name in self.address.names()? {
            match net::listen(&name, backlog) {
                Ok(socket) => {
                    let name = net::own_name(&socket)?;
                    return Ok((socket, name));
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    fn explain(self, source: io::Error) -> BindError {
        let address = self.address;
        if source.kind() != io::ErrorKind::AddrInUse {
            return BindError::Io { address, source };
        }
        let in_use = match address.names().as_deref() {
            Ok([Name::Unix(at)]) if at.path_bytes().is_some() => net::is_in_use(at),
            _ => Ok(true),
        };
        let is_socket = address.as_path().is_none_or(|path| {
            use std::os::unix::fs::FileTypeExt;
            std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
        });
        match in_use {
            _ if !is_socket => BindError::NoSocket { address },
            Ok(false) => BindError::Stale { address },
            _ => BindError::InUse { address },
        }
    }
}

/// A socket in the file system, to be removed by its maker.
struct SocketFile {
    /// Absolute: the process may change its directory.
    path: PathBuf,
    device: u64,
    inode: u64,
    maker: u32,
}

impl SocketFile {
    fn of(address: &Address) -> Option<SocketFile> {
        let path = std::path::absolute(address.as_path()?).ok()?;
        let found = std::fs::symlink_metadata(&path).ok()?;
        Some(SocketFile {
            path,
            device: found.dev(),
            inode: found.ino(),
            maker: std::process::id(),
        })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_mine = self.maker == std::process::id()
            && std::fs::symlink_metadata(&self.path)
                .is_ok_and(|found| (found.dev(), found.ino()) == (self.device, self.inode));
        if is_mine {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("address", &self.address)
            .field("fileno", &self.as_raw_fd())
            .field("authkey", &self.key)
            .finish_non_exhaustive()
    }
}
