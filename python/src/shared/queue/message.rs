//! Messages that come out of a queue.

use std::ffi::c_int;

use allcores::multiprocessing::queue::door;
use pyo3::ffi;
use pyo3::prelude::*;

/// Bytes as an object of Python's; an error if there is no memory for it.
#[inline]
pub(super) fn to_python(py: Python<'_>, bytes: &[u8]) -> PyResult<Py<PyAny>> {
    // SAFETY: a new reference or null with an exception set, which is what is asked for.
    unsafe {
        let made = ffi::PyBytes_FromStringAndSize(bytes.as_ptr().cast(), bytes.len() as isize);
        Bound::from_owned_ptr_or_err(py, made).map(Bound::unbind)
    }
}

/// A message where it lies in shared memory, to be read through the buffer protocol: what is made of it is its first copy.
/// The memory goes back to the queue with this object.
#[pyclass(frozen, module = "allcores._allcores")]
pub(crate) struct LongMessage(door::LongMessage);

impl LongMessage {
    pub(super) fn of(py: Python<'_>, message: door::LongMessage) -> PyResult<Py<PyAny>> {
        Py::new(py, LongMessage(message)).map(Py::into_any)
    }
}

#[pymethods]
impl LongMessage {
    fn __len__(&self) -> usize {
        self.0.len()
    }

    /// # Safety
    /// Called by the interpreter, with a view to fill in.
    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        let bytes: &[u8] = &slf.get().0;
        let start = bytes.as_ptr().cast_mut().cast();
        // SAFETY: the view keeps `slf`, and that the memory; it is marked as not to be written.
        let filled = unsafe {
            ffi::PyBuffer_FillInfo(view, slf.as_ptr(), start, bytes.len() as isize, 1, flags)
        };
        if filled == 0 {
            Ok(())
        } else {
            Err(PyErr::fetch(slf.py()))
        }
    }
}
