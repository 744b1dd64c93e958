//! `send` and `recv` of Connection: from an object to the descriptor and back without a Python frame, or an object between.
//!
//! What is not plain (see `pickled`) is sent by the class's `_send_object`, and what is large becomes an object by its
//! `_loads`.

use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::ptr::null_mut;

use pyo3::exceptions::PyTypeError;
use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::types::PyType;

use super::wire::{Message, Wire, filled};
use crate::pickled::{self, Pickle};
use crate::raw::{self, Args, calls, entry, none, slowly};

/// # Safety
/// `connection` must be an instance of Wire or of a subclass, and live as long as `'a`.
unsafe fn wire<'a>(connection: *mut PyObject) -> &'a Wire {
    // SAFETY: attached, as every method is; a live object, whose value is only ever handed out as shared.
    unsafe {
        let py = Python::assume_attached();
        let connection: Borrowed<'a, '_, PyAny> = Borrowed::from_ptr(py, connection);
        std::ptr::from_ref(connection.cast_unchecked::<Wire>().get()).as_ref_unchecked()
    }
}

unsafe extern "C-unwind" fn send(
    this: *mut PyObject,
    values: *const *mut PyObject,
    positions: ffi::Py_ssize_t,
    names: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: the interpreter has checked the type of `this`, and holds the arguments.
    let (wire, args) = unsafe { (wire(this), Args::new(values, positions, names)) };
    let object = match args.only() {
        Some(object) => object,
        None => {
            // Borrowed: the caller keeps it.
            let named = slowly(|py| match args.bind(py, "send", ["obj"])? {
                [Some(object)] => Ok(object.as_ptr()),
                _ => Err(PyTypeError::new_err(
                    "send() missing 1 required positional argument: 'obj'",
                )),
            });
            if named.is_null() {
                return named;
            }
            named
        }
    };
    let Some(handle) = wire.writing() else {
        return slowly(|_| wire.to_write().map(|_| null_mut()));
    };
    let mut pickle = Pickle::new();
    match pickle.write(object) {
        Some(frame) => slowly(|py| wire.send_frame(py, handle, frame).map(|()| none())),
        None => calls::method(this, c"_send_object", [object]),
    }
}

unsafe extern "C-unwind" fn recv(this: *mut PyObject, _: *mut PyObject) -> *mut PyObject {
    // SAFETY: as above.
    let wire = unsafe { wire(this) };
    let mut place = MaybeUninit::uninit();
    let mut small = None;
    let message = slowly(|py| {
        let handle = wire.to_read()?;
        match wire.begin(py, handle, None, &mut place)? {
            Message::Small(length) => {
                small = Some(length);
                Ok(null_mut())
            }
            Message::Large(length) => Ok(wire.receive_large(py, handle, length)?.into_ptr()),
        }
    });
    if let Some(length) = small {
        return pickled::load(filled(&place, length));
    }
    if message.is_null() {
        return message;
    }
    let object = calls::method(this, c"_loads", [message]);
    // SAFETY: our reference, which an unwinding thread loses.
    unsafe { calls::Py_DecRef(message) };
    object
}

/// Gives the class, a subclass of Wire, `send` and `recv`.
#[pyfunction]
pub(super) fn quicken_connection(class: &Bound<'_, PyType>) -> PyResult<()> {
    if !class.is_subclass_of::<Wire>()? {
        return Err(PyTypeError::new_err("a subclass of Wire is wanted"));
    }
    const SEND: &str = "send($self, /, obj)\n--\n\nSend a (picklable) object";
    const RECV: &str = "recv($self, /)\n--\n\nReceive a (picklable) object";
    let many = ffi::METH_FASTCALL | ffi::METH_KEYWORDS;
    let table = vec![
        entry("send", send as *mut c_void, many, SEND),
        entry("recv", recv as *mut c_void, ffi::METH_NOARGS, RECV),
    ];
    raw::add(class, table)
}
