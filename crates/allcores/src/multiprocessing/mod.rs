//! Processes, Connections, and the seven primitives in shared memory.

mod event;
mod lock;
mod owner_died;
mod rlock;
mod semaphore;

pub use event::Event;
pub use lock::{Lock, LockGuard};
pub use owner_died::OwnerDied;
pub use rlock::{RLock, RLockGuard};
pub use semaphore::{BoundedSemaphore, Permit, Semaphore};

pub use crate::sync::lock::NotHeld;
pub use crate::sync::rlock::NotOwner;
pub use crate::sync::semaphore::TooManyPermits;

pub(crate) fn has_overflow(_: std::ptr::NonNull<u8>) -> bool {
    false
}
pub(crate) fn reclaim(_: crate::sync::Scope, _: std::ptr::NonNull<u8>, _: u32, _: usize) {}
