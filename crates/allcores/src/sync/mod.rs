//! The primitives, each one algorithm over words that mean the same in private memory and in a shared arena.
//!
//! This is the machine room: no data, no guards, and every way in which a wait can end is an outcome that the caller sees
//! (`Interrupted` and `OwnerDied` among them). [`crate::threading`] and [`crate::multiprocessing`] are the faces. The
//! state tables are in `README.md` beside this file.
//!
//! Hidden from the documentation and without promise of stability: it is the door for other language faces.

pub mod barrier;
pub mod condition;
pub mod event;
pub mod eventcount;
pub mod lock;
pub mod owned;
pub mod rlock;
pub mod semaphore;

#[cfg(not(allcores_loom))]
mod scope;
#[cfg(not(allcores_loom))]
pub(crate) mod sleep;
pub(crate) mod spin;

pub use barrier::Barrier;
pub use condition::Condition;
pub use event::Event;
pub use eventcount::EventCount;
pub use lock::Lock;
pub use owned::OwnedSemaphore;
pub use rlock::RLock;
pub use semaphore::Semaphore;

/// What the algorithms stand on: the machine, or loom's model of it.
#[cfg(not(allcores_loom))]
mod door {
    pub(super) use super::scope::{NOBODY, Scope};
    pub(super) use super::sleep::Sleeper;
    pub(super) use crate::sys::clock::Deadline;
    pub(super) use crate::sys::futex::Slept;
    pub(super) use std::sync::atomic::{AtomicU32, AtomicU64, fence};
}
#[cfg(allcores_loom)]
mod door {
    pub(super) use crate::sys::model::{
        AtomicU32, AtomicU64, Deadline, NOBODY, Scope, Sleeper, Slept,
    };
    pub(super) use loom::sync::atomic::fence;
}

#[cfg(allcores_loom)]
pub use crate::sys::model;
#[cfg(allcores_loom)]
pub use model::{Deadline, Scope, Slept};
#[cfg(not(allcores_loom))]
pub use {crate::sys::clock::Deadline, crate::sys::futex::Slept, scope::Scope};

/// Declares a constructor that is `const`, except under loom, whose atomics are not.
macro_rules! const_fn {
    ($(#[$meta:meta])* $vis:vis const fn $name:ident($($arg:ident: $type:ty),*) -> $result:ty $body:block) => {
        #[cfg(not(allcores_loom))]
        $(#[$meta])* $vis const fn $name($($arg: $type),*) -> $result $body
        #[cfg(allcores_loom)]
        $(#[$meta])* $vis fn $name($($arg: $type),*) -> $result $body
    };
}
use const_fn;

/// How an attempt to take a lock ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Acquired {
    /// The caller holds it.
    Yes,
    /// The caller holds it, but its last owner is gone, or nobody has recovered it since. The number is the owner that
    /// was found gone just now, or 0 if that was found earlier.
    OwnerDied(u32),
    /// The deadline passed.
    TimedOut,
    /// A signal handler ran; nothing is held. Call again with the same deadline to go on.
    Interrupted,
}

impl Acquired {
    /// Whether the caller holds it now.
    #[inline]
    pub fn is_held(self) -> bool {
        matches!(self, Acquired::Yes | Acquired::OwnerDied(_))
    }
}

/// How a wait ended that nobody can die in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Waited {
    /// What was waited for came.
    Yes,
    /// The deadline passed.
    TimedOut,
    /// A signal handler ran. Call again with the same deadline to go on.
    Interrupted,
}
