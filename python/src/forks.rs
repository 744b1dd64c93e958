//! What another thread may be inside of while this one forks: the forked process has the lock then, and not the thread that
//! holds it.
//!
//! Python forks attached to the interpreter. With a global lock nobody else is attached then, and without one everybody else
//! has been stopped where the interpreter allows for that, which is never inside a function of ours. So a lock is safe if
//! whoever has it stays attached: that is what [`Filled`] and [`Brief`] are for. It is not if the interpreter is let go of
//! meanwhile, and pyo3's `PyOnceLock` does let go of it, with its lock held: hence [`Imported`] and [`find_out`].

use std::sync::{MutexGuard, PoisonError, TryLockError};

use allcores::face::Known;
use pyo3::prelude::*;
use pyo3::types::PyType;

/// Empty until it is filled, once, by somebody who is attached.
///
/// Nothing is made in here, unlike by `OnceLock::get_or_init`: a value is moved, and no code runs that could let go of the
/// interpreter. To look waits for nobody.
#[expect(clippy::disallowed_types, reason = "filled by a move, attached")]
pub(crate) struct Filled<T>(std::sync::OnceLock<T>);

impl<T> Filled<T> {
    #[inline]
    pub(crate) fn get(&self) -> Option<&T> {
        self.0.get()
    }

    /// Fills it, or gives the value back if it is filled.
    pub(crate) fn set(&self, value: T) -> Result<(), T> {
        self.0.set(value)
    }

    /// What it is filled with: that value, unless it was filled before.
    pub(crate) fn get_or_set(&self, value: T) -> &T {
        self.0.get_or_init(|| value)
    }

    pub(crate) fn take(&mut self) -> Option<T> {
        self.0.take()
    }
}

impl<T> Default for Filled<T> {
    fn default() -> Filled<T> {
        Filled(Default::default())
    }
}

/// What one thread at a time is at, for moments, and attached: whoever locks it runs no code of Python's, and waits for
/// nothing.
#[expect(clippy::disallowed_types, reason = "held for moments, attached")]
#[derive(Default)]
pub(crate) struct Brief<T>(std::sync::Mutex<T>);

impl<T> Brief<T> {
    pub(crate) fn new(value: T) -> Brief<T> {
        Brief(value.into())
    }

    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For a collection of garbage, which has stopped everybody else.
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

/// A class of a module of Python's, imported when it is first asked for. Several threads may import it at a time.
pub(crate) struct Imported {
    module: &'static str,
    name: &'static str,
    class: Known<Py<PyType>>,
}

impl Imported {
    pub(crate) const fn new(module: &'static str, name: &'static str) -> Imported {
        Imported {
            module,
            name,
            class: Known::new(),
        }
    }

    pub(crate) fn get<'py>(&self, py: Python<'py>) -> PyResult<&Bound<'py, PyType>> {
        let class = match self.class.get() {
            Some(class) => class,
            None => {
                let class = py.import(self.module)?.getattr(self.name)?;
                let class = class.cast_into::<PyType>()?.unbind();
                self.class.get_or(|| class)
            }
        };
        Ok(class.bind(py))
    }
}

/// Has pyo3 find out, while the module is imported, what it would find out in the midst of the program's work, as it does
/// it: see above.
pub(crate) fn find_out(module: &Bound<'_, PyModule>) -> PyResult<()> {
    // For reprs.
    let class = module.py().get_type::<pyo3::types::PyInt>();
    class.fully_qualified_name()?;
    // For errors that name an argument.
    let refused = module.getattr("SharedQueue")?.call1(("no size", false));
    debug_assert!(refused.is_err());
    Ok(())
}
