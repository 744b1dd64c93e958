//! Where a pickler writes what is to be sent: pieces that are not joined.

use pyo3::buffer::PyUntypedBuffer;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use pyo3::{PyTraverseError, PyVisit};

use super::io::{self, piece};
use crate::forks::Brief;

/// A file for a pickler: it keeps what is written, without copying it where it cannot change any more.
///
/// Large buffers of objects (pickle protocol 5) are written from where they lie: `keep`, given to the pickler as its
/// `buffer_callback`, has them stay, and answers that they are to be written in band.
#[pyclass(frozen, module = "allcores._allcores")]
pub(crate) struct Sink {
    written: Brief<Written>,
}

#[derive(Default)]
pub(super) struct Written {
    pieces: Vec<Piece>,
    /// Buffers that the pickler has announced.
    kept: Vec<PyUntypedBuffer>,
    total: usize,
}

enum Piece {
    Bytes(Py<PyBytes>),
    /// In a buffer that is kept.
    Buffer(*const u8, usize),
    Copy(Vec<u8>),
}

// SAFETY: the pointers are into buffers that are kept beside them.
unsafe impl Send for Piece {}

impl Written {
    pub(super) fn total(&self) -> usize {
        self.total
    }

    /// The pieces, after room for a header. They point into `self`.
    pub(super) fn vectors(&self, py: Python<'_>, header: libc::iovec) -> Vec<libc::iovec> {
        let mut vectors = Vec::with_capacity(1 + self.pieces.len());
        vectors.push(header);
        vectors.extend(self.pieces.iter().map(|written| match written {
            Piece::Bytes(bytes) => {
                let bytes = bytes.as_bytes(py);
                piece(bytes.as_ptr(), bytes.len())
            }
            Piece::Buffer(start, length) => piece(*start, *length),
            Piece::Copy(bytes) => piece(bytes.as_ptr(), bytes.len()),
        }));
        vectors
    }
}

impl Sink {
    /// What has been written so far. The sink is empty then.
    pub(super) fn take(&self) -> Written {
        std::mem::take(&mut self.written.lock())
    }
}

#[pymethods]
impl Sink {
    #[new]
    fn new() -> Sink {
        Sink {
            written: Brief::default(),
        }
    }

    /// Appends bytes.
    fn write(&self, data: &Bound<'_, PyAny>) -> PyResult<usize> {
        if let Ok(bytes) = data.cast_exact::<PyBytes>() {
            let length = bytes.as_bytes().len();
            let mut written = self.written.lock();
            written.pieces.push(Piece::Bytes(bytes.clone().unbind()));
            written.total += length;
            return Ok(length);
        }
        // The pickler's own view of memory: nothing holds that but this call.
        let view = PyUntypedBuffer::get(data)?;
        let (start, length) = (view.buf_ptr().cast::<u8>().cast_const(), view.len_bytes());
        let mut written = self.written.lock();
        let kept = written.kept.iter().rev().any(|kept| {
            kept.buf_ptr().cast::<u8>().cast_const() == start && kept.len_bytes() == length
        });
        let new = if kept {
            Piece::Buffer(start, length)
        } else {
            let mut copy = Vec::with_capacity(length);
            io::prefer_huge_pages(copy.as_mut_ptr(), length);
            // SAFETY: a contiguous view, as the pickler makes them, that is kept from changing its place during this call.
            copy.extend_from_slice(unsafe { std::slice::from_raw_parts(start, length) });
            Piece::Copy(copy)
        };
        written.pieces.push(new);
        written.total += length;
        Ok(length)
    }

    /// Keeps a PickleBuffer until what was written is sent. True: it is to be written in band.
    fn keep(&self, buffer: &Bound<'_, PyAny>) -> PyResult<bool> {
        let view = PyUntypedBuffer::get(buffer)?;
        self.written.lock().kept.push(view);
        Ok(true)
    }

    /// How many bytes have been written.
    #[getter]
    fn total(&self) -> usize {
        self.written.lock().total
    }

    /// Forgets what was written.
    fn clear(&self) {
        drop(self.take());
    }

    /// What was written, in one piece. The sink is empty then.
    fn joined<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let written = self.take();
        if let [Piece::Bytes(only)] = &written.pieces[..] {
            return only.bind(py).clone();
        }
        let mut all = Vec::with_capacity(written.total);
        for vector in &written.vectors(py, piece(std::ptr::null(), 0))[1..] {
            // SAFETY: what `written` holds.
            all.extend_from_slice(unsafe {
                std::slice::from_raw_parts(vector.iov_base.cast::<u8>(), vector.iov_len)
            });
        }
        PyBytes::new(py, &all)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        // Whoever has it locked is at work with it: then it is no garbage.
        if let Some(written) = self.written.try_lock() {
            for kept in &written.pieces {
                if let Piece::Bytes(bytes) = kept {
                    visit.call(bytes)?;
                }
            }
        }
        Ok(())
    }

    fn __clear__(&self) {
        drop(self.take());
    }
}
