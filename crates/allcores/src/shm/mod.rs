//! Shared memory: the arena that primitives live in, and which types may lie there.
//!
//! One growable memfd serves a whole tree of processes. It has no name in any file system, so nothing is left behind
//! however its processes end, and a thousand locks cost one descriptor. `README.md` in the registry's folder tells the
//! life and death of those who take part; `cells.rs` tells what happens to memory when they die.

pub(crate) mod arena;
pub(crate) mod cells;
mod error;
pub(crate) mod handle;
pub(crate) mod layout;
mod pins;
mod shareable;

pub use error::ShmError;
pub use shareable::Shareable;
