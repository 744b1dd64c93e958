//! What a method returns.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null_mut;

use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;

/// None, as a method returns it.
#[inline]
pub(crate) fn none() -> *mut PyObject {
    // SAFETY: None lives for ever.
    unsafe { ffi::Py_NewRef(ffi::Py_None()) }
}

/// True or False, as a method returns it.
#[inline]
pub(crate) fn boolean(value: bool) -> *mut PyObject {
    // SAFETY: both live for ever.
    unsafe {
        ffi::Py_NewRef(match value {
            true => ffi::Py_True(),
            false => ffi::Py_False(),
        })
    }
}

/// An int, as a method returns it.
pub(crate) fn int(value: u64) -> *mut PyObject {
    // SAFETY: attached, as every method is.
    unsafe { ffi::PyLong_FromUnsignedLongLong(value) }
}

/// Sets the exception; the null that says so.
#[cold]
pub(crate) fn raise(error: PyErr) -> *mut PyObject {
    // SAFETY: attached, as every method is.
    error.restore(unsafe { Python::assume_attached() });
    null_mut()
}

/// A result as a method returns it.
fn returned(result: PyResult<*mut PyObject>) -> *mut PyObject {
    result.unwrap_or_else(raise)
}

/// Runs what needs more than the bare interface: `?`, conversions, blocking. Panics become exceptions.
#[inline(never)]
pub(crate) fn slowly(body: impl FnOnce(Python<'_>) -> PyResult<*mut PyObject>) -> *mut PyObject {
    // SAFETY: attached, as every method is; nothing made here outlives the call.
    let py = unsafe { Python::assume_attached() };
    match catch_unwind(AssertUnwindSafe(|| body(py))) {
        Ok(result) => returned(result),
        Err(payload) => {
            let said = payload
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| payload.downcast_ref::<&str>().copied());
            raise(pyo3::panic::PanicException::new_err(
                said.unwrap_or("panic from Rust code").to_owned(),
            ))
        }
    }
}
