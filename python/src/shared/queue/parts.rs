//! Messages that go into a queue: the memory of one object of Python's, or of several.

use std::ffi::c_int;
use std::mem::MaybeUninit;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

/// What makes up one message. Keeps the objects, and what they have lent, until it is dropped.
pub(super) enum Parts<'py> {
    One(Part<'py>),
    Many(Vec<Part<'py>>),
}

pub(super) enum Part<'py> {
    Bytes(Bound<'py, PyBytes>),
    Lent(Lent),
}

/// A view of an object's memory. Boxed, since a view may point into itself.
pub(super) struct Lent(Box<ffi::Py_buffer>);

impl<'py> Parts<'py> {
    /// Of a list of objects, or of one that is no list.
    pub(super) fn of(parts: &Bound<'py, PyAny>) -> PyResult<Parts<'py>> {
        match parts.cast_exact::<PyList>() {
            Err(_) => Part::of(parts).map(Parts::One),
            Ok(list) if list.len() == 1 => Part::of(&list.get_item(0)?).map(Parts::One),
            Ok(list) => list
                .iter()
                .map(|part| Part::of(&part))
                .collect::<PyResult<_>>()
                .map(Parts::Many),
        }
    }

    pub(super) fn with<R>(&self, work: impl FnOnce(&[&[u8]]) -> R) -> R {
        match self {
            Parts::One(part) => work(&[part.bytes()]),
            Parts::Many(parts) => work(&parts.iter().map(Part::bytes).collect::<Vec<_>>()),
        }
    }
}

impl<'py> Part<'py> {
    fn of(object: &Bound<'py, PyAny>) -> PyResult<Part<'py>> {
        match object.cast_exact::<PyBytes>() {
            Ok(bytes) => Ok(Part::Bytes(bytes.clone())),
            Err(_) => Lent::by(object).map(Part::Lent),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Part::Bytes(bytes) => bytes.as_bytes(),
            Part::Lent(lent) => lent.bytes(),
        }
    }
}

impl Lent {
    fn by(object: &Bound<'_, PyAny>) -> PyResult<Lent> {
        let mut view = Box::new(MaybeUninit::<ffi::Py_buffer>::uninit());
        let simple: c_int = ffi::PyBUF_SIMPLE;
        // SAFETY: fills in the view, or fails with an exception set.
        if unsafe { ffi::PyObject_GetBuffer(object.as_ptr(), view.as_mut_ptr(), simple) } != 0 {
            return Err(PyErr::fetch(object.py()));
        }
        // SAFETY: filled in, as was just seen; a `MaybeUninit` has the layout of what it may hold.
        Ok(Lent(unsafe { Box::from_raw(Box::into_raw(view).cast()) }))
    }

    /// One run of bytes, as the flags asked for. Another thread may write there while they are copied, and only the copy is
    /// the worse for it, as with every function of the interpreter's that takes a buffer.
    fn bytes(&self) -> &[u8] {
        if self.0.len == 0 {
            return &[];
        }
        // SAFETY: the exporter keeps so many bytes in place until the view is released.
        unsafe { std::slice::from_raw_parts(self.0.buf.cast(), self.0.len as usize) }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // Parts live in a call from the interpreter, which is attached again when they are dropped.
        Python::attach(|_| {
            // SAFETY: got by `PyObject_GetBuffer`, and released once.
            unsafe { ffi::PyBuffer_Release(&raw mut *self.0) }
        });
    }
}
