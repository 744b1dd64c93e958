//! How handles reach the children of this process: see `allcores/multiprocessing/_arena.py`.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use allcores::face;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::raise;

/// A handle as `(bytes, descriptors of the arenas that the receiver must know)`. What it names is kept until a receiver has
/// opened it.
pub(crate) fn pack<'py, T: Serialize>(
    py: Python<'py>,
    value: &T,
) -> PyResult<(Bound<'py, PyBytes>, Bound<'py, PyTuple>)> {
    let packed = face::pack(value).map_err(raise::travel)?;
    let arenas = packed
        .arenas()
        .iter()
        .map(AsRawFd::as_raw_fd)
        .collect::<Vec<_>>();
    let arenas = PyTuple::new(py, arenas)?;
    Ok((PyBytes::new(py, &packed.sent()), arenas))
}

/// The handle that [`pack`] packed.
pub(crate) fn unpack<T: DeserializeOwned>(bytes: &[u8]) -> PyResult<T> {
    face::unpack(bytes).map_err(raise::travel)
}

/// The descriptor of the arena that this process shares with its children; it stays open, and the arena's.
#[pyfunction]
pub(super) fn arena_descriptor() -> PyResult<RawFd> {
    let arena = face::common_arena().map_err(raise::shm)?;
    Ok(arena.as_raw_fd())
}

/// Has this process know the arena behind a descriptor, which is the arena's from now on: the common one if there is none
/// yet.
#[pyfunction]
pub(super) fn meet_arena(descriptor: RawFd) -> PyResult<()> {
    // SAFETY: the caller gives the descriptor away.
    let file = unsafe { OwnedFd::from_raw_fd(descriptor) };
    face::meet_arena(file).map_err(raise::shm)
}

/// Before a fork, for `os.register_at_fork`.
#[pyfunction]
pub(super) fn before_fork() {
    face::before_fork();
}

/// After it, in the parent.
#[pyfunction]
pub(super) fn after_fork_in_parent() {
    face::after_fork_in_parent();
}

/// After it, in the child.
#[pyfunction]
pub(super) fn after_fork_in_child() {
    LEFT.store(false, Relaxed);
    face::after_fork_in_child();
}

/// The process ends normally: Locks that it holds stay taken, and nobody is told of a death.
#[pyfunction]
pub(super) fn leave_locks() {
    LEFT.store(true, Relaxed);
    face::leave_locks();
}

/// Whether that has been: a daemon thread may still be running, within a lock that is nobody's now.
pub(super) fn has_left_locks() -> bool {
    LEFT.load(Relaxed)
}

static LEFT: AtomicBool = AtomicBool::new(false);

/// Has `leave_locks` run once more when all of Python has come to its end.
pub(super) fn leave_locks_at_exit() {
    extern "C" fn leave() {
        let _ = std::panic::catch_unwind(face::leave_locks);
    }
    // SAFETY: a plain function of a library that stays loaded.
    unsafe { libc::atexit(leave) };
}
