//! The raw side of a Connection.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use allcores::multiprocessing::Connection;

/// A Connection, and the raw socket on its other side.
pub(crate) fn raw() -> (Connection<String, String>, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (Connection::from_fd(ours.into()).unwrap(), theirs)
}

/// A folder of its own, which goes with all that is in it.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Folder {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Relaxed);
        let name = format!("allcores-{}-{number}", std::process::id());
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
