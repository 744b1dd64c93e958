//! The raw side of a Connection.

use std::os::unix::net::UnixStream;

use allcores::multiprocessing::Connection;

/// A Connection, and the raw socket on its other side.
pub(crate) fn raw() -> (Connection<String, String>, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (Connection::from_fd(ours.into()).unwrap(), theirs)
}
