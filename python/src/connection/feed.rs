//! Where an unpickler reads a large message from.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use pyo3::buffer::PyUntypedBuffer;
use pyo3::exceptions::PyBufferError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::io;

/// A file over a bytes object, for an unpickler: what it reads to fresh memory is copied once, to huge pages.
#[pyclass(frozen, module = "allcores._allcores")]
pub(crate) struct Feed {
    message: Py<PyBytes>,
    at: AtomicUsize,
}

impl Feed {
    /// The next so many bytes, or fewer if there are no more.
    fn next<'a>(&'a self, py: Python<'a>, wanted: usize) -> &'a [u8] {
        let message = self.message.as_bytes(py);
        let at = self.at.load(Relaxed);
        let end = message.len().min(at.saturating_add(wanted));
        self.at.store(end, Relaxed);
        message.get(at..end).unwrap_or(&[])
    }
}

#[pymethods]
impl Feed {
    #[new]
    fn new(message: Py<PyBytes>) -> Feed {
        Feed {
            message,
            at: AtomicUsize::new(0),
        }
    }

    /// The next `size` bytes, all that are left if it is negative.
    #[pyo3(signature = (size = -1))]
    fn read<'py>(&self, py: Python<'py>, size: isize) -> Bound<'py, PyBytes> {
        let wanted = usize::try_from(size).unwrap_or(usize::MAX);
        PyBytes::new(py, self.next(py, wanted))
    }

    /// The bytes up to the next end of a line.
    fn readline<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let message = self.message.as_bytes(py);
        let rest = message.get(self.at.load(Relaxed)..).unwrap_or(&[]);
        let line = rest.iter().position(|byte| *byte == b'\n');
        let length = line.map_or(rest.len(), |end| end + 1);
        PyBytes::new(py, self.next(py, length))
    }

    /// Fills `buffer` with the next bytes; returns how many there were.
    fn readinto(&self, py: Python<'_>, buffer: &Bound<'_, PyAny>) -> PyResult<usize> {
        let view = PyUntypedBuffer::get(buffer)?;
        if view.readonly() || !view.is_c_contiguous() {
            return Err(PyBufferError::new_err(
                "a writable, contiguous buffer is required",
            ));
        }
        let place = view.buf_ptr().cast::<u8>();
        let bytes = self.next(py, view.len_bytes());
        io::prefer_huge_pages(place, bytes.len());
        // SAFETY: the view has room for as many, and cannot overlap with bytes that never change.
        unsafe { place.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        Ok(bytes.len())
    }
}
