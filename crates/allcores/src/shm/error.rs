//! What can go wrong with shared memory.

use std::io;

/// Why something could not be made in, or taken from, shared memory.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShmError {
    /// The system has no memory left for it. Nothing was changed; an arena never dies of SIGBUS.
    #[error(
        "no room for {wanted} more bytes of shared memory: {source}; free some, or raise the limit of the cgroup, or of file sizes (ulimit -f)"
    )]
    NoSpace {
        /// How many bytes were wanted.
        wanted: u64,
        /// What the kernel said.
        source: io::Error,
    },
    /// The arena has reached the size that all its participants have reserved.
    #[error(
        "the arena is full: {wanted} more bytes do not fit into its {reserve} bytes of address space"
    )]
    Full {
        /// How many bytes were wanted.
        wanted: u64,
        /// How large the arena can get.
        reserve: u64,
    },
    /// One thing alone is larger than an arena's pieces can be.
    #[error(
        "{wanted} bytes are too many for one piece of an arena, which holds {most} at most: use a SharedMemory, or several pieces"
    )]
    TooLarge {
        /// How many bytes were wanted.
        wanted: u64,
        /// How many there can be.
        most: u64,
    },
    /// The arena could not be created or mapped.
    #[error(
        "shared memory cannot be set up: {0}; an address-space limit (ulimit -v) below the arena's reserve is one reason"
    )]
    Os(#[from] io::Error),
    /// Too many live processes share the arena.
    #[error(
        "{limit} live processes share this arena already: no more can join until one of them ends"
    )]
    TooManyProcesses {
        /// How many can.
        limit: usize,
    },
    /// Too many arenas are mapped.
    #[error(
        "this process has {limit} arenas mapped already: the kernel tells of deaths in no more than that"
    )]
    TooManyArenas {
        /// How many can be.
        limit: usize,
    },
    /// What was received is no arena of this version.
    #[error("this is no arena that allcores {} can read: {reason}", env!("CARGO_PKG_VERSION"))]
    NotAnArena {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Somebody has written over the arena's own words.
    #[error(
        "the arena is damaged: {reason}; a program that shares it has written over its words, so make a new one"
    )]
    Damaged {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The handle names something that does not exist any more, or never did.
    #[error(
        "this handle is stale: what it names has been freed; a handle must be received once by each message that carries it"
    )]
    Stale,
    /// The handle names an array of something else.
    #[error("this handle names an array of {found}-byte elements, not of {wanted}-byte ones")]
    WrongElement {
        /// How large its elements are.
        found: u32,
        /// How large those are that were asked for.
        wanted: u32,
    },
    /// The handle names other data.
    #[error("this handle names {kind} of {found}, not of {wanted}")]
    WrongContent {
        /// What it names.
        kind: &'static str,
        /// What that is made of.
        found: &'static str,
        /// What was asked for.
        wanted: &'static str,
    },
    /// The handle names something else.
    #[error(
        "this handle names a {found} of {found_bytes} bytes, not a {wanted} of {wanted_bytes} bytes"
    )]
    WrongKind {
        /// What it names.
        found: &'static str,
        /// How large that is.
        found_bytes: u32,
        /// What was asked for.
        wanted: &'static str,
        /// How large that would be.
        wanted_bytes: u32,
    },
}
