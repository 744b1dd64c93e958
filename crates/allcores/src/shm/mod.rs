//! Shared memory: the arena that primitives live in, and which types may lie there.
//!
//! One growable memfd serves a whole tree of processes. It has no name in any file system, so nothing is left behind
//! however its processes end, and a thousand locks cost one descriptor. `README.md` in the registry's folder tells the
//! life and death of those who take part; `cells.rs` tells what happens to memory when they die.

pub(crate) mod arena;
pub(crate) mod cells;
pub(crate) mod content;
pub(crate) mod copies;
mod error;
pub(crate) mod forks;
pub(crate) mod handle;
mod holders;
mod image;
pub(crate) mod layout;
pub(crate) mod pins;
mod recovery;
mod room;
mod separate;
mod shareable;

pub(crate) use cells::LONGEST_CELL;
pub use copies::Atom;
pub use error::ShmError;
#[doc(hidden)]
pub use image::Image;
pub use separate::Arena;
pub use shareable::Shareable;

/// For tests: the common arena mapped a second time in this process, as if by another one. Not part of the API.
///
/// # Errors
/// If it cannot be mapped.
#[doc(hidden)]
pub fn map_common_again() -> Result<crate::sync::Scope, ShmError> {
    arena::map_again().map(arena::Arena::scope)
}

/// For tests and for the curious: how many cells live in the common arena, how many bytes they take with all their parts,
/// and how many messages on their way keep one alive. Not part of the API.
///
/// # Errors
/// If there is no common arena yet and none can be made.
#[doc(hidden)]
pub fn usage() -> Result<(usize, u64, usize), ShmError> {
    let arena = arena::common()?;
    let guarded = arena.guard();
    let (cells, bytes) = guarded.usage();
    Ok((cells, bytes, pins::count(&guarded)))
}

/// For tests and for the curious: how many bytes of memory the common arena has. Not part of the API.
///
/// # Errors
/// If there is no common arena yet and none can be made.
#[doc(hidden)]
pub fn resident() -> Result<u64, ShmError> {
    use std::os::fd::AsFd;
    Ok(crate::sys::memory::resident(arena::common()?.as_fd())?)
}

/// For tests: settles what is left of participants that have died, as happens by itself when a slot is used again or a
/// child of this process has ended. Not part of the API.
///
/// # Errors
/// If there is no common arena yet and none can be made.
#[doc(hidden)]
pub fn settle_the_dead() -> Result<(), ShmError> {
    crate::registry::reap(arena::common()?);
    Ok(())
}
