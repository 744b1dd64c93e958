//! Pickles of plain objects, written and read here.
//!
//! `_pickle` makes a pickler, a memo and a bytes object for each message: 0.2 µs to write `(1, "two", 3.0)`, as much to read
//! it, and that is most of what a message costs that needs no system call. What is written here is, byte for byte, what
//! `_pickle.dumps(object, 5)` writes; only what is small and consists of None, bool, int, float, str, bytes, tuple, list and
//! dict, exactly these types, for which a pickler asks nobody how to do it. The rest is the Python files' work. What is read is what consists of
//! the same operations; anything else goes to `_pickle.loads`.

mod read;
mod write;

use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering::Relaxed};

use allcores::face::pickle_opcode as op;
use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;

use crate::raw::calls;

pub(crate) use write::{HEADER, Pickle};

/// `_pickle.loads`, for ever, once somebody has needed it: `_pickle` imports a good part of what a small process imports at all.
static LOADS: AtomicPtr<PyObject> = AtomicPtr::new(null_mut());

/// `LOADS`, or null with an exception set: borrowed. May run any code, as the callers may.
#[inline]
fn loads() -> *mut PyObject {
    let loads = LOADS.load(Relaxed);
    if loads.is_null() {
        import_loads()
    } else {
        loads
    }
}

#[cold]
fn import_loads() -> *mut PyObject {
    // SAFETY: attached, as the callers are; both references are ours, and that to the function is kept for ever. Who comes
    // second stores the same function.
    unsafe {
        let module = ffi::PyImport_ImportModule(c"_pickle".as_ptr());
        if module.is_null() {
            return module;
        }
        let loads = ffi::PyObject_GetAttrString(module, c"loads".as_ptr());
        calls::Py_DecRef(module);
        if !loads.is_null() {
            LOADS.store(loads, Relaxed);
        }
        loads
    }
}

/// The object whose pickle these bytes are, or null with an exception set. May run any code: nothing that needs to be dropped
/// may lie below it, see `raw.rs`.
#[inline]
pub(crate) fn load(pickle: &[u8]) -> *mut PyObject {
    match read::plain(pickle) {
        Some(object) => object,
        None => load_any(pickle),
    }
}

#[cold]
fn load_any(pickle: &[u8]) -> *mut PyObject {
    // SAFETY: attached, as the callers are; a new object, whose reference goes on to `load_object`.
    unsafe {
        let bytes =
            ffi::PyBytes_FromStringAndSize(pickle.as_ptr().cast(), pickle.len() as ffi::Py_ssize_t);
        if bytes.is_null() {
            return bytes;
        }
        load_object(bytes)
    }
}

/// The same for an object that holds the bytes, and whose reference is taken. As large as it may be.
///
/// # Safety
/// Attached, with a reference to give away.
pub(crate) unsafe fn load_object(bytes: *mut PyObject) -> *mut PyObject {
    // SAFETY: as the caller promises, and a function that is never freed.
    unsafe {
        if ffi::Py_TYPE(bytes) == &raw mut ffi::PyBytes_Type {
            let start = ffi::PyBytes_AsString(bytes).cast::<u8>();
            let pickle = std::slice::from_raw_parts(start, ffi::PyBytes_Size(bytes) as usize);
            if let Some(object) = read::plain(pickle) {
                calls::Py_DecRef(bytes);
                return object;
            }
        }
        let loads = loads();
        if loads.is_null() {
            calls::Py_DecRef(bytes);
            return loads;
        }
        let object = calls::PyObject_CallOneArg(loads, bytes);
        calls::Py_DecRef(bytes);
        object
    }
}

/// `dumps(object)`: its pickle if it is plain and small, else None.
#[pyfunction]
fn dumps_plain<'py>(object: &Bound<'py, PyAny>) -> Option<Bound<'py, pyo3::types::PyBytes>> {
    let mut pickle = Pickle::new();
    let written = pickle.write(object.as_ptr())?;
    Some(pyo3::types::PyBytes::new(object.py(), &written[HEADER..]))
}

/// `loads(bytes)`, if all of it is plain, else None, as for None.
#[pyfunction]
fn loads_plain<'py>(py: Python<'py>, pickle: &[u8]) -> Option<Bound<'py, PyAny>> {
    let object = read::plain(pickle)?;
    // SAFETY: a new reference.
    Some(unsafe { Bound::from_owned_ptr(py, object) })
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(dumps_plain, module)?)?;
    module.add_function(wrap_pyfunction!(loads_plain, module)?)
}
