//! One behaviour, every memory: private, shared, shared and seen through a second mapping (where the owner's name is
//! another one, as if in another process), and shared with another process.
//!
//! A behaviour makes a primitive with a [`Memory`], gives its `elsewhere` to another party with
//! [`Memory::go`], and never learns where that is.

mod party;
mod primitives;

pub(crate) use party::Going;
pub(crate) use primitives::AnyLock;

use allcores::sync::Scope;

/// Where the primitives of a behaviour lie, and where the other party is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Memory {
    /// `threading`; another thread.
    Private,
    /// `multiprocessing`; another thread.
    Shared,
    /// `multiprocessing`; another thread, through this other mapping.
    Mapped(Scope),
    /// `multiprocessing`; another process.
    Processes,
}

impl Memory {
    /// The other mapping: one for the whole program.
    pub(crate) fn mapped() -> Memory {
        static AGAIN: std::sync::OnceLock<Scope> = std::sync::OnceLock::new();
        Memory::Mapped(*AGAIN.get_or_init(|| {
            allcores::shm::map_common_again().expect("the arena can be mapped twice")
        }))
    }

    /// Begins something elsewhere; its answer is a number below 256.
    pub(crate) fn go(self, work: impl FnOnce() -> u8 + Send + 'static) -> Going {
        match self {
            Memory::Processes => Going::process(work),
            _ => Going::thread(self, work),
        }
    }

    /// Does something elsewhere, to its end.
    pub(crate) fn there(self, work: impl FnOnce() -> u8 + Send + 'static) -> u8 {
        self.go(work).answer()
    }
}

/// Writes a behaviour once, and makes a test of it for every memory.
macro_rules! in_every_memory {
    ($($(#[$meta:meta])* fn $name:ident($memory:ident) $body:block)*) => {$(
        $(#[$meta])*
        mod $name {
            use super::*;

            fn behaviour($memory: Memory) $body

            #[test]
            fn private() {
                behaviour(Memory::Private);
            }
            #[test]
            fn shared() {
                behaviour(Memory::Shared);
            }
            #[test]
            fn two_mappings() {
                behaviour(Memory::mapped());
            }
            #[test]
            fn across_processes() {
                behaviour(Memory::Processes);
            }
        }
    )*};
}
pub(crate) use in_every_memory;
