//! Python's `threading` and `multiprocessing`, built anew in Rust.
//!
//! - [`threading`]: threads, and Lock, RLock, Semaphore, BoundedSemaphore, Event, Condition, Barrier in private memory.
//! - [`multiprocessing`]: processes, Connections, and the same seven primitives in shared memory.
//!
//! Both faces stand on one core: each primitive is one algorithm over a few words that mean the same in any memory, and
//! a holder that is killed is an outcome of the operation, never a hang.
//!
//! Linux only (x86-64 and aarch64, glibc); see the README for what that rests on.

#![deny(clippy::disallowed_types)]

#[cfg(not(all(
    target_os = "linux",
    target_endian = "little",
    target_pointer_width = "64"
)))]
compile_error!(
    "allcores runs on 64-bit little-endian Linux only (x86-64, aarch64): it rests on robust futexes, FUTEX_WAITV, memfd and pidfd"
);

#[allow(clippy::disallowed_methods, reason = "this is the door")]
pub(crate) mod sys;

#[doc(hidden)]
pub mod sync;

#[cfg(not(allcores_loom))]
#[doc(hidden)]
pub mod face;
#[cfg(not(allcores_loom))]
pub mod multiprocessing;
#[cfg(not(allcores_loom))]
pub(crate) mod registry;
#[cfg(not(allcores_loom))]
pub mod shm;
#[cfg(not(allcores_loom))]
pub mod threading;

#[cfg(not(allcores_loom))]
pub use multiprocessing::process::init;

/// The code in the documents is compiled and run as documentation tests.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../../../README.md")]
    struct Readme;
    #[doc = include_str!("../../../docs/start.md")]
    struct Start;
    #[doc = include_str!("../../../docs/from-python.md")]
    struct FromPython;
}
