//! What can go wrong with a SharedMemory.

use std::io;

/// Why a [`SharedMemory`](super::SharedMemory) could not be made, attached, used or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SharedMemoryError {
    /// Nothing can be shared in no bytes.
    #[error("a SharedMemory of 0 bytes cannot be made: ask for 1 at least")]
    Empty,
    /// The system has no memory left for it. Nothing was made; touching a SharedMemory never fails for want of memory.
    #[error(
        "no room for {wanted} bytes of shared memory: {source}; free some, make /dev/shm larger (it holds the named ones), or raise the limit of the cgroup or of file sizes (ulimit -f)"
    )]
    NoSpace {
        /// How many bytes were wanted.
        wanted: usize,
        /// What the kernel said.
        source: io::Error,
    },
    /// The name cannot be one.
    #[error(
        "{name:?} cannot be the name of a SharedMemory: {reason}; a name has 1 to 255 bytes, none of them '/' or NUL, and is not '.' or '..'"
    )]
    InvalidName {
        /// The name.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Nobody holds a SharedMemory of that name.
    #[error(
        "there is no SharedMemory {name:?}: its creator must hold it until this call returns, and it goes with its last holder"
    )]
    NotFound {
        /// The name.
        name: String,
    },
    /// The name is taken.
    #[error(
        "there is a SharedMemory {name:?} already: attach() it, choose another name, or have create_unique() choose one"
    )]
    AlreadyExists {
        /// The name.
        name: String,
    },
    /// The name belongs to somebody else, who could take the memory away at any moment.
    #[error(
        "{name:?} belongs to user {owner}, and only one's own can be attached: have its owner send an anonymous SharedMemory over a connection"
    )]
    NotOurs {
        /// The name.
        name: String,
        /// Who made it.
        owner: u32,
    },
    /// What has the name is something else.
    #[error("{name:?} in /dev/shm is no SharedMemory: it is {what}")]
    NotAFile {
        /// The name.
        name: String,
        /// What it is.
        what: &'static str,
    },
    /// There is no place for names.
    #[error(
        "a SharedMemory with a name needs /dev/shm, which cannot be used here: {source}; SharedMemory::new() makes one without a name, which needs nothing and can be sent to other processes"
    )]
    NoDirectory {
        /// What the kernel said.
        source: io::Error,
    },
    /// The bytes do not lie inside.
    #[error("{len} bytes at {offset} do not lie in a SharedMemory of {size}")]
    OutOfBounds {
        /// Where they were to begin.
        offset: usize,
        /// How many they are.
        len: usize,
        /// How large it is.
        size: usize,
    },
    /// Somebody has made the file of a named one shorter.
    #[error(
        "the file of SharedMemory {name:?} has become shorter than its {size} bytes: some program of this user truncated it in /dev/shm"
    )]
    Truncated {
        /// Its name.
        name: String,
        /// How large it was.
        size: usize,
    },
    /// It has no name that could be taken away.
    #[error("a SharedMemory without a name has nothing to unlink: it goes with its last holder")]
    Anonymous,
    /// What a message brought cannot be used as one.
    #[error("the SharedMemory in the message cannot be used: {reason}")]
    Unsuitable {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Another system call failed.
    #[error("{what}: {source}")]
    Os {
        /// What was to be done.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

impl SharedMemoryError {
    /// For `map_err`.
    pub(super) fn os(what: &'static str) -> impl FnOnce(io::Error) -> SharedMemoryError {
        move |source| SharedMemoryError::Os { what, source }
    }
}
