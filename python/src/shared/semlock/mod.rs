//! `_allcores.SemLock`: the base of Lock, RLock, Semaphore and BoundedSemaphore of `allcores.multiprocessing`.
//!
//! What is taken or released without waiting goes straight to the core. The classes themselves are Python's, with `__dict__`
//! and all; `quicken` gives each of them the methods once more as its own.

mod core;
mod methods;
mod quick;

use std::sync::OnceLock;

use pyo3::prelude::*;

use self::core::{Core, Notes, Refusal, not_made};
use crate::raw;

#[allow(unused_imports, reason = "Event will wait so")]
pub(crate) use self::core::wait_plain;

/// Made empty by `__new__`, and filled once.
#[derive(Default)]
struct SemLock {
    notes: Notes,
    core: OnceLock<Core>,
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

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    raw::create::<SemLock>(module)?;
    quick::register(module)
}
