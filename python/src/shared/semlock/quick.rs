//! Methods that a class calls its own.
//!
//! The interpreter's specialised calls want the method of exactly the object's class, not of a base; and so do the descriptors of
//! `special.rs`, to know an object at first sight.

use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering::Relaxed};

use pyo3::exceptions::PyTypeError;
use pyo3::ffi::{self, PyObject, PyTypeObject};
use pyo3::prelude::*;
use pyo3::types::PyType;

use super::super::condition::quick::{QUICK_CONDITION, QuickCondition};
use super::super::event::{EVENT, SharedEvent};
use super::SemLock;
use super::methods::SEMLOCK;
use crate::raw::{self, Object, Raw, special};

/// The classes of locks that have been quickened, for ever: those whose `acquire` and `release` are ours.
static CLASSES: [AtomicPtr<PyTypeObject>; 4] = [const { AtomicPtr::new(null_mut()) }; 4];

/// The lock that an object is, if its class is one of those, and no subclass, which may have overridden anything.
pub(in crate::shared) fn plain_lock<'a>(object: *mut PyObject) -> Option<&'a Object<SemLock>> {
    // SAFETY: a live object, whose class is a subclass of SemLock, as `quicken` has seen.
    unsafe {
        let kind = ffi::Py_TYPE(object);
        let known = CLASSES.iter().any(|class| class.load(Relaxed) == kind);
        known.then(|| Object::<SemLock>::of(object))
    }
}

/// Gives `class`, one of those that the Python files make, the methods that are called most as its own.
#[pyfunction]
fn quicken(py: Python<'_>, class: &Bound<'_, PyType>) -> PyResult<()> {
    // SAFETY: the types that `register` made live as long as the interpreter.
    let [semlock, event, condition] = [&SEMLOCK, &EVENT, &QUICK_CONDITION]
        .map(|cell| unsafe { Borrowed::from_ptr(py, cell.get().cast::<PyObject>()) });
    if class.is_subclass(&event)? {
        return raw::own::<SharedEvent>(class, &[c"is_set", c"set", c"clear", c"wait"]);
    }
    if class.is_subclass(&condition)? {
        for definition in QuickCondition::specials() {
            special::add(class, definition)?;
        }
        return raw::own::<QuickCondition>(class, &[c"wait", c"notify"]);
    }
    if !class.is_subclass(&semlock)? {
        return Err(PyTypeError::new_err(
            "a subclass of SemLock, SharedEvent or QuickCondition is wanted",
        ));
    }
    raw::own::<SemLock>(class, &[c"acquire", c"release"])?;
    for definition in SemLock::specials() {
        special::add(class, definition)?;
    }
    if let Some(place) = CLASSES.iter().find(|class| class.load(Relaxed).is_null()) {
        place.store(class.clone().into_ptr().cast(), Relaxed);
    }
    Ok(())
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(quicken, module)?)
}
