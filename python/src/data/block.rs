//! A piece of memory that processes share.

use std::ffi::c_int;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use allcores::face::{self, Element, Piece, PieceKind};
use allcores::multiprocessing::{SharedMemory, SharedMemoryError};
use pyo3::exceptions::{PyOSError, PyOverflowError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use crate::shared::{arena, raise};

/// From this size on, a block is a segment of its own instead of a cell of the arena: its memory goes back as a whole, and
/// the arena's address space is left to what is small.
const SEGMENT: usize = 1 << 20;

pub(super) enum Memory {
    Cell(Piece),
    Segment(SharedMemory),
}

impl Memory {
    pub(super) fn start(&self) -> *mut u8 {
        match self {
            Memory::Cell(piece) => piece.as_ptr(),
            Memory::Segment(memory) => memory.as_ptr(),
        }
    }

    pub(super) fn size(&self) -> usize {
        match self {
            Memory::Cell(piece) => piece.size(),
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

    /// What lies in the arena.
    pub(crate) fn piece(&self) -> PyResult<&Piece> {
        match &*self.memory {
            Memory::Cell(piece) => Ok(piece),
            Memory::Segment(_) => Err(PyValueError::new_err("a segment has no place in the arena")),
        }
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

/// Which piece of memory a name of Rust's stands for.
fn kind_of(name: &str) -> PyResult<PieceKind> {
    Ok(match name {
        "Array" => PieceKind::Array,
        "RawArray" => PieceKind::RawArray,
        "Value" => PieceKind::Value,
        "RawValue" => PieceKind::RawValue,
        _ => return Err(PyValueError::new_err("no kind of memory")),
    })
}

/// A type of ctypes: its letter, its size, what it is aligned to.
type Ctype = (Option<char>, usize, usize);

fn element(of: Ctype) -> PyResult<Element> {
    let (letter, size, align) = of;
    if size == 0 || !align.is_power_of_two() || align > 64 {
        return Err(PyValueError::new_err(
            "shared elements have a size, and are aligned to 64 bytes at most",
        ));
    }
    Ok(Element {
        letter,
        size,
        align,
    })
}

#[pymethods]
impl Block {
    #[new]
    #[pyo3(signature = (size, most_in_arena = None))]
    fn new(size: &Bound<'_, PyAny>, most_in_arena: Option<usize>) -> PyResult<Block> {
        let wanted: i128 = size.extract()?;
        if wanted < 0 {
            return Err(PyValueError::new_err(format!("Size {wanted} out of range")));
        }
        let size = usize::try_from(wanted)
            .ok()
            .filter(|size| *size < isize::MAX as usize)
            .ok_or_else(|| PyOverflowError::new_err(format!("Size {wanted} too large")))?;
        Ok(Block::of(if size <= most_in_arena.unwrap_or(SEGMENT - 1) {
            let made = Piece::new(PieceKind::RawArray, Element::BYTE, size);
            Memory::Cell(made.map_err(raise::shm)?)
        } else {
            Memory::Segment(SharedMemory::new(size).map_err(segment)?)
        }))
    }

    /// Its name in the arena, for `_arena.pack`. Not for segments.
    fn _pack<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyBytes>, Bound<'py, PyTuple>)> {
        match &*self.memory {
            Memory::Cell(piece) => arena::pack(py, piece),
            Memory::Segment(_) => Err(PyValueError::new_err("a segment has a descriptor")),
        }
    }

    /// What `_pack` named.
    #[staticmethod]
    fn _unpack(data: &[u8]) -> PyResult<Block> {
        let piece = Piece::open(data, None, None).map_err(raise::travel)?;
        Ok(Block::of(Memory::Cell(piece)))
    }

    /// `count` zeroed elements as Rust has them: the kind by its name there, the element as (letter, size, alignment).
    #[staticmethod]
    fn _piece(kind: &str, of: Ctype, count: usize) -> PyResult<Block> {
        let piece = Piece::new(kind_of(kind)?, element(of)?, count).map_err(raise::shm)?;
        Ok(Block::of(Memory::Cell(piece)))
    }

    /// As `_unpack`, if it is of that kind and, where that is given, of such elements.
    #[staticmethod]
    fn _open(data: &[u8], kind: &str, of: Option<Ctype>) -> PyResult<Block> {
        let of = of.map(element).transpose()?;
        let piece = Piece::open(data, Some(kind_of(kind)?), of).map_err(raise::travel)?;
        Ok(Block::of(Memory::Cell(piece)))
    }

    /// Says what the bytes are, before anybody else has them; for segments nothing.
    fn _made_of(&self, of: Ctype) -> PyResult<()> {
        if let Memory::Cell(piece) = &*self.memory {
            piece.made_of(element(of)?);
        }
        Ok(())
    }

    /// The letter of its elements, if they have one.
    fn _letter(&self) -> PyResult<Option<char>> {
        self.piece().map(Piece::letter)
    }

    /// How many elements an array has.
    fn _count(&self) -> PyResult<Option<usize>> {
        self.piece().map(Piece::count)
    }

    /// A segment as a message whose one descriptor is `_descriptor()`.
    fn _pack_segment<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        match &*self.memory {
            Memory::Cell(_) => Err(PyValueError::new_err("it is no segment")),
            Memory::Segment(memory) => {
                let packed = face::pack_with_descriptors(memory).map_err(raise::travel)?;
                Ok(PyBytes::new(py, &packed.sent()))
            }
        }
    }

    /// What `_pack_segment` made, with its descriptors, which are the block's from now on.
    #[staticmethod]
    fn _unpack_segment(data: &[u8], descriptors: Vec<RawFd>) -> PyResult<Block> {
        // SAFETY: the caller gives the descriptors away.
        let own = |descriptor| unsafe { OwnedFd::from_raw_fd(descriptor) };
        let descriptors = descriptors.into_iter().map(own).collect();
        let memory = face::unpack_with_descriptors(data, descriptors).map_err(raise::travel)?;
        Ok(Block::of(Memory::Segment(memory)))
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
