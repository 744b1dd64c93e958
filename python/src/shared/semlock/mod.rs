//! `_allcores.SemLock`: the base of Lock, RLock, Semaphore and BoundedSemaphore of `allcores.multiprocessing`.
//!
//! What is taken or released without waiting goes straight to the core. The classes themselves are Python's, with `__dict__`
//! and all; `quicken` gives each of them the methods once more as its own.

mod core;
mod methods;
mod quick;
mod soon;

use allcores::face;
use allcores::multiprocessing::RLock;
use pyo3::ffi;
use pyo3::prelude::*;

use self::core::{Refusal, not_made};
use crate::forks::Filled;
use crate::raw::{self, Object};

pub(super) use self::core::{Core, Notes};
pub(super) use self::methods::{acquire, release};
pub(super) use self::quick::plain_lock;

/// Made empty by `__new__`, and filled once.
#[derive(Default)]
pub(super) struct SemLock {
    notes: Notes,
    core: Filled<Core>,
}

impl SemLock {
    fn core(&self) -> PyResult<&Core> {
        self.core.get().ok_or_else(not_made)
    }

    #[inline]
    fn release(&self) -> Result<(), Refusal> {
        match self.core.get() {
            Some(core) => core.release(&self.notes),
            None => Err(Refusal::NotMade),
        }
    }
}

impl Drop for SemLock {
    fn drop(&mut self) {
        // A lock that is held stays so, and is known to be, when the last object for it is gone.
        if let Some(Core::Lock(lock)) = self.core.take() {
            face::part_with(lock);
        }
    }
}

/// What an object is made of, if it is a SemLock.
pub(super) fn semlock_of<'a>(
    object: &'a Bound<'_, PyAny>,
) -> PyResult<Option<(&'a Core, &'a Notes)>> {
    // SAFETY: a live object, and a type that lives as long as the interpreter.
    let is_one = unsafe {
        ffi::PyType_IsSubtype(ffi::Py_TYPE(object.as_ptr()), methods::SEMLOCK.get()) != 0
    };
    if !is_one {
        return Ok(None);
    }
    // SAFETY: an instance of the type or of a subclass, which `object` keeps.
    let this = unsafe { Object::<SemLock>::of(object.as_ptr()) };
    Ok(Some((this.value.core()?, &this.value.notes)))
}

/// A handle on the RLock that an object is, if it is one.
pub(crate) fn rlock(object: &Bound<'_, PyAny>) -> PyResult<Option<RLock>> {
    Ok(match semlock_of(object)? {
        Some((Core::RLock(lock), _)) => Some(lock.clone()),
        _ => None,
    })
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    raw::create::<SemLock>(module)?;
    quick::register(module)
}
