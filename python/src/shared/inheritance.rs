//! What a forked child finds of its parent's.

use std::sync::Mutex;

use allcores::face;
use pyo3::prelude::*;

use super::raise;

/// All that this process holds in shared memory, kept for a child that is about to be forked.
#[pyclass(frozen, module = "allcores._allcores")]
pub(crate) struct Inheritance(Mutex<Option<face::Inheritance>>);

#[pymethods]
impl Inheritance {
    /// None if there is nothing.
    #[staticmethod]
    fn before_fork() -> PyResult<Option<Inheritance>> {
        let inheritance = face::Inheritance::before_fork().map_err(raise::shm)?;
        Ok(inheritance.map(|kept| Inheritance(Mutex::new(Some(kept)))))
    }

    /// In the child: it holds all of that itself from now on.
    fn take(&self) {
        if let Some(kept) = self.slot().take() {
            kept.take();
        }
    }

    /// In the parent: lets go of it if the child has taken it.
    fn settle(&self) {
        let mut slot = self.slot();
        if slot.as_ref().is_some_and(face::Inheritance::is_taken) {
            let kept = slot.take();
            drop(slot);
            drop(kept);
        }
    }
}

impl Inheritance {
    /// Locked for a moment, and never while the process forks: that is done by a thread that has the interpreter.
    fn slot(&self) -> std::sync::MutexGuard<'_, Option<face::Inheritance>> {
        self.0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
