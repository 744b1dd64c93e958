//! The raw side of a Connection.

use std::hash::{BuildHasher, RandomState};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use allcores::multiprocessing::Connection;
use allcores::multiprocessing::connection::{Address, Client, Listener};

/// A Connection, and the raw socket on its other side.
pub(crate) fn raw() -> (Connection<String, String>, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (Connection::from_fd(ours.into()).unwrap(), theirs)
}

/// A folder of its own, which goes with all that is in it.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Folder {
        // At random: others in this folder may have the same process number, in a namespace of their own or long ago.
        let name = format!("allcores-{:x}", RandomState::new().hash_one(0));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Folder(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Longer than anything that gets on.
pub(crate) const LONG: Duration = Duration::from_secs(600);
/// A deadline that is meant to pass.
pub(crate) const SHORT: Duration = Duration::from_millis(50);

/// A connected pair, (accepted, connected).
pub(crate) fn pair<A, B>(
    address: Address,
    key: Option<&str>,
) -> (Connection<A, B>, Connection<B, A>)
where
    Connection<A, B>: Send,
    Connection<B, A>: Send,
{
    let builder = Listener::at(address).handshake_timeout(LONG);
    let builder = match key {
        Some(key) => builder.authkey(key),
        None => builder,
    };
    let listener = builder.bind().unwrap();
    let client = Client::to(listener.address().clone()).timeout(LONG);
    let client = match key {
        Some(key) => client.authkey(key),
        None => client,
    };
    std::thread::scope(|scope| {
        let connected = scope.spawn(|| client.connect().unwrap());
        let accepted = listener.accept().unwrap();
        (accepted, connected.join().unwrap())
    })
}
