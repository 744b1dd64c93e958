//! Who connects.

use std::io;
use std::time::Duration;

use super::auth::{AuthKey, Role};
use super::handshake::{self, HandshakeError};
use super::{Address, Connection};
use crate::sys::clock::Deadline;
use crate::sys::net;

/// How long it may take to be let in, unless told otherwise. Longer than a Listener's patience with one client, since it may
/// be busy with another.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why [`Client::connect`] brought no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// Nobody listens there.
    #[error("nobody listens at {address}: start the server first, or correct the address")]
    Nobody {
        /// Where.
        address: Address,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The server did not take the connection in time.
    #[error(
        "nobody at {address} took the connection in time: its Listener has too many clients waiting, or is not accepting"
    )]
    TimedOut {
        /// Where.
        address: Address,
    },
    /// The two ends do not trust each other.
    #[error("{address} and this client do not come together")]
    Handshake {
        /// Where.
        address: Address,
        /// What was wrong.
        #[source]
        source: HandshakeError,
    },
    /// The system refused.
    #[error("{address} cannot be reached")]
    Io {
        /// Where.
        address: Address,
        /// What it says.
        #[source]
        source: io::Error,
    },
}

/// Connects to a [`Listener`](super::Listener), ours or Python's.
///
/// What is said there about trust holds at this end as well. See [`Listener`](super::Listener) for an example.
#[must_use = "nothing is connected before connect()"]
#[derive(Clone, Debug)]
pub struct Client {
    address: Address,
    key: Option<AuthKey>,
    timeout: Duration,
}

impl Client {
    /// Will connect to `address`.
    pub fn to(address: Address) -> Client {
        Client {
            address,
            key: None,
            timeout: PATIENCE,
        }
    }

    /// Shows the server that it has this key, and wants to be shown. The server must use the same.
    pub fn authkey(self, key: impl AsRef<[u8]>) -> Client {
        Client {
            key: Some(AuthKey::new(key)),
            ..self
        }
    }

    /// How long it may take to connect and to shake hands, together (20 s). To look up a host's name takes its own time, before
    /// that.
    pub fn timeout(self, timeout: Duration) -> Client {
        Client { timeout, ..self }
    }

    /// Connects. Waits until the server has accepted the connection and the handshake is over; without an authkey, until there is
    /// room among those that wait to be accepted.
    ///
    /// The two ends must agree on the types and on the codec, which nobody checks before the first message.
    ///
    /// # Errors
    /// [`ConnectError::Nobody`] where nobody listens, also if a killed server has left its socket file behind;
    /// [`ConnectError::Handshake`] if the keys differ, or the far end speaks another protocol or none.
    pub fn connect<S, R, C>(&self) -> Result<Connection<S, R, C>, ConnectError> {
        let address = || self.address.clone();
        let io = |source| ConnectError::Io {
            address: address(),
            source,
        };
        let deadline = Deadline::after(self.timeout);
        let mut failure = io(io::ErrorKind::AddrNotAvailable.into());
        for name in self.address.names().map_err(io)? {
            failure = match net::connect(&name, deadline) {
                Ok(Some(socket)) => {
                    let key = self.key.as_ref();
                    return match handshake::greet(socket, key, Role::Connector, deadline) {
                        Ok(stream) => Ok(Connection::through(stream)),
                        Err(source) => Err(ConnectError::Handshake {
                            address: address(),
                            source,
                        }),
                    };
                }
                Ok(None) => ConnectError::TimedOut { address: address() },
                Err(source) => match source.kind() {
                    io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => {
                        ConnectError::Nobody {
                            address: address(),
                            source,
                        }
                    }
                    _ => io(source),
                },
            };
        }
        Err(failure)
    }
}
