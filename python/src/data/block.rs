//! A piece of memory that processes share.

use std::ffi::c_int;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use allcores::face;
use allcores::multiprocessing::{RawArray, SharedMemory, SharedMemoryError};
use pyo3::exceptions::{PyOSError, PyOverflowError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use crate::shared::{arena, raise};

/// From this size on, a block is a segment of its own instead of a cell of the arena: its memory goes back as a whole, and
/// the arena's address space is left to what is small.
const SEGMENT: usize = 1 << 20;

pub(super) enum Memory {
    Cell(RawArray<u8>),
    Segment(SharedMemory),
}

impl Memory {
    pub(super) fn start(&self) -> *mut u8 {
        match self {
            Memory::Cell(array) => array.as_ptr(),
            Memory::Segment(memory) => memory.as_ptr(),
        }
    }

    pub(super) fn size(&self) -> usize {
        match self {
            Memory::Cell(array) => array.len(),
            Memory::Segment(memory) => memory.size(),
        }
    }
}

/// Zeroed bytes that all processes of a family see, as a buffer: freed when the last process lets go of them.
#[pyclass(frozen, weakref, module = "allcores._allcores")]
pub(crate) struct Block {
    memory: Arc<Memory>,
}

impl Block {
    pub(super) fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    fn of(memory: Memory) -> Block {
        Block {
            memory: Arc::new(memory),
        }
    }
}

/// A segment could not be had, or opened.
fn segment(error: SharedMemoryError) -> PyErr {
    let errno = match &error {
        SharedMemoryError::NoSpace { source, .. } | SharedMemoryError::Os { source, .. } => {
            source.raw_os_error()
        }
        _ => None,
    };
    match errno {
        Some(errno) => PyOSError::new_err((errno, error.to_string())),
        None => PyOSError::new_err(error.to_string()),
    }
}

#[pymethods]
impl Block {
    #[new]
    fn new(size: &Bound<'_, PyAny>) -> PyResult<Block> {
        let wanted: i128 = size.extract()?;
        if wanted < 0 {
            return Err(PyValueError::new_err(format!("Size {wanted} out of range")));
        }
        let size = usize::try_from(wanted)
            .ok()
            .filter(|size| *size < isize::MAX as usize)
            .ok_or_else(|| PyOverflowError::new_err(format!("Size {wanted} too large")))?;
        Ok(Block::of(if size < SEGMENT {
            Memory::Cell(RawArray::new(size).map_err(raise::shm)?)
        } else {
            Memory::Segment(SharedMemory::new(size).map_err(segment)?)
        }))
    }

    /// Its name in the arena, for `_arena.pack`. Not for segments.
    fn _pack<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyBytes>, Bound<'py, PyTuple>)> {
        match &*self.memory {
            Memory::Cell(array) => arena::pack(py, array),
            Memory::Segment(_) => Err(PyValueError::new_err("a segment has a descriptor")),
        }
    }

    /// What `_pack` named.
    #[staticmethod]
    fn _unpack(data: &[u8]) -> PyResult<Block> {
        Ok(Block::of(Memory::Cell(arena::unpack(data)?)))
    }

    /// The descriptor of a segment, which stays the block's; None for what lies in the arena.
    fn _descriptor(&self) -> Option<RawFd> {
        match &*self.memory {
            Memory::Cell(_) => None,
            Memory::Segment(memory) => Some(memory.as_fd().as_raw_fd()),
        }
    }

    /// The segment behind a descriptor, which is the block's from now on.
    #[staticmethod]
    fn _receive(descriptor: RawFd) -> PyResult<Block> {
        // SAFETY: the caller gives the descriptor away.
        let file = unsafe { OwnedFd::from_raw_fd(descriptor) };
        let memory = face::received_memory(file).map_err(segment)?;
        Ok(Block::of(Memory::Segment(memory)))
    }

    fn __len__(&self) -> usize {
        self.memory.size()
    }

    /// # Safety
    /// As the interpreter calls it.
    unsafe fn __getbuffer__(
        this: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        let memory = &this.get().memory;
        // SAFETY: the memory is there as long as the object, to which the view gets a reference; who shares memory with
        // others reads and writes it as ctypes does.
        let filled = unsafe {
            ffi::PyBuffer_FillInfo(
                view,
                this.as_ptr(),
                memory.start().cast(),
                memory.size() as isize,
                0,
                flags,
            )
        };
        match filled {
            0 => Ok(()),
            _ => Err(PyErr::fetch(this.py())),
        }
    }
}
