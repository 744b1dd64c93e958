//! One end of a connection.

use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering::Relaxed};

use allcores::face::Looking;
use pyo3::buffer::PyUntypedBuffer;
use pyo3::exceptions::{PyOSError, PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple};

use super::incoming::{self, Arrived};
use super::io::{self, Known, Pieces, Room, piece};
use super::outgoing::{self, Header};
use super::sink::Sink;
use super::wait;
use crate::pickled::HEADER;

/// What a Connection stands on: frames of bytes over a descriptor.
#[pyclass(frozen, subclass, module = "allcores._allcores")]
pub(crate) struct Wire {
    /// The descriptor, or [`CLOSED`].
    handle: AtomicI32,
    channel: Known,
    /// For the beginning of a message, and for the rest of a large one.
    looking: Looking,
    flowing: Looking,
    may_read: AtomicBool,
    may_write: AtomicBool,
}

const CLOSED: i32 = -1;

/// Where the message goes.
pub(super) enum Message {
    Small(usize),
    Large(usize),
}

impl Wire {
    #[inline]
    fn open_handle(&self) -> PyResult<i32> {
        match self.handle.load(Relaxed) {
            CLOSED => Err(PyOSError::new_err("handle is closed")),
            handle => Ok(handle),
        }
    }

    #[inline]
    pub(super) fn to_read(&self) -> PyResult<i32> {
        let handle = self.open_handle()?;
        if !self.may_read.load(Relaxed) {
            return Err(PyOSError::new_err("connection is write-only"));
        }
        Ok(handle)
    }

    #[inline]
    pub(super) fn to_write(&self) -> PyResult<i32> {
        let handle = self.open_handle()?;
        if !self.may_write.load(Relaxed) {
            return Err(PyOSError::new_err("connection is read-only"));
        }
        Ok(handle)
    }

    /// The descriptor, if something may be sent.
    #[inline]
    pub(super) fn writing(&self) -> Option<i32> {
        let handle = self.handle.load(Relaxed);
        (handle != CLOSED && self.may_write.load(Relaxed)).then_some(handle)
    }

    /// Sends a small frame: room for a header, and what it is about.
    #[inline]
    pub(super) fn send_frame(&self, py: Python<'_>, handle: i32, frame: &mut [u8]) -> PyResult<()> {
        let length = frame.len() - HEADER;
        frame[..HEADER].copy_from_slice(&(length as i32).to_be_bytes());
        let mut one = [piece(frame.as_ptr(), frame.len())];
        // SAFETY: the caller keeps the memory.
        let pieces = unsafe { Pieces::new(&mut one) };
        outgoing::send(py, handle, self.channel.get(handle), pieces, frame.len())
    }

    fn send_memory(
        &self,
        py: Python<'_>,
        handle: i32,
        start: *const u8,
        length: usize,
    ) -> PyResult<()> {
        let header = Header::of(length);
        let mut both = [header.piece(), piece(start, length)];
        // SAFETY: the header is above, and the caller keeps the memory.
        let pieces = unsafe { Pieces::new(&mut both) };
        outgoing::send(py, handle, self.channel.get(handle), pieces, length)
    }

    pub(super) fn begin(
        &self,
        py: Python<'_>,
        handle: i32,
        most: Option<u64>,
        place: &mut incoming::SmallPlace,
    ) -> PyResult<Message> {
        match incoming::begin(py, handle, &self.channel, &self.looking, most, place)? {
            Arrived::Small(length) => Ok(Message::Small(length)),
            Arrived::Large(length) => Ok(Message::Large(length)),
            Arrived::TooLong => {
                // What follows is not a header: nothing can be read from here any more.
                if self.may_write.load(Relaxed) {
                    self.may_read.store(false, Relaxed);
                } else {
                    self.close()?;
                }
                Err(PyOSError::new_err("bad message length"))
            }
        }
    }

    fn receive<'py>(
        &self,
        py: Python<'py>,
        handle: i32,
        most: Option<u64>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let mut place = MaybeUninit::uninit();
        match self.begin(py, handle, most, &mut place)? {
            Message::Small(length) => Ok(PyBytes::new(py, filled(&place, length))),
            Message::Large(length) => self.receive_large(py, handle, length),
        }
    }

    /// A message that has begun, as `begin` said.
    pub(super) fn receive_large<'py>(
        &self,
        py: Python<'py>,
        handle: i32,
        length: usize,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let channel = self.channel.get(handle);
        let message = incoming::bytes(py, handle, channel, &self.flowing, length)?;
        Ok(message.into_bound(py))
    }
}

/// A small message that has come.
pub(super) fn filled(place: &incoming::SmallPlace, length: usize) -> &[u8] {
    // SAFETY: so many bytes were received to it.
    unsafe { std::slice::from_raw_parts(place.as_ptr().cast(), length) }
}

#[pymethods]
impl Wire {
    /// A closed one: subclasses open it when they are initialised, and may take what arguments they like.
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Wire {
        Wire {
            handle: AtomicI32::new(CLOSED),
            channel: Known::unknown(),
            looking: Looking::default(),
            flowing: Looking::default(),
            may_read: AtomicBool::new(false),
            may_write: AtomicBool::new(false),
        }
    }

    /// Takes over a descriptor.
    fn _open(&self, handle: i32, readable: bool, writable: bool) {
        self.may_read.store(readable, Relaxed);
        self.may_write.store(writable, Relaxed);
        self.set_handle(Some(handle));
    }

    /// The descriptor; None if closed.
    #[getter(_handle)]
    fn handle(&self) -> Option<i32> {
        Some(self.handle.load(Relaxed)).filter(|handle| *handle != CLOSED)
    }

    #[setter(_handle)]
    fn set_handle(&self, handle: Option<i32>) {
        self.handle.store(handle.unwrap_or(CLOSED), Relaxed);
        self.channel.forget();
    }

    #[getter(_readable)]
    fn get_readable(&self) -> bool {
        self.may_read.load(Relaxed)
    }

    #[setter(_readable)]
    fn set_readable(&self, readable: bool) {
        self.may_read.store(readable, Relaxed);
    }

    #[getter(_writable)]
    fn get_writable(&self) -> bool {
        self.may_write.load(Relaxed)
    }

    #[setter(_writable)]
    fn set_writable(&self, writable: bool) {
        self.may_write.store(writable, Relaxed);
    }

    /// True if the connection is closed
    #[getter]
    fn closed(&self) -> bool {
        self.handle.load(Relaxed) == CLOSED
    }

    /// True if the connection is readable
    #[getter]
    fn readable(&self) -> bool {
        self.may_read.load(Relaxed)
    }

    /// True if the connection is writable
    #[getter]
    fn writable(&self) -> bool {
        self.may_write.load(Relaxed)
    }

    /// File descriptor or handle of the connection
    fn fileno(&self) -> PyResult<i32> {
        self.open_handle()
    }

    /// Close the connection
    fn close(&self) -> PyResult<()> {
        let handle = self.handle.swap(CLOSED, Relaxed);
        if handle == CLOSED {
            return Ok(());
        }
        // SAFETY: the descriptor is ours, and nobody takes it from this object again.
        if unsafe { libc::close(handle) } == 0 {
            return Ok(());
        }
        match std::io::Error::last_os_error().raw_os_error() {
            // It is closed nevertheless.
            Some(libc::EINTR) | None => Ok(()),
            Some(number) => Err(io::os_error(number)),
        }
    }

    /// Closes it, whatever that leads to.
    fn _drop(&self) {
        let _ = self.close();
    }

    /// Send the bytes data from a bytes-like object
    #[pyo3(signature = (buf, offset = 0, size = None))]
    fn send_bytes(
        &self,
        py: Python<'_>,
        buf: &Bound<'_, PyAny>,
        offset: isize,
        size: Option<isize>,
    ) -> PyResult<()> {
        let handle = self.to_write()?;
        if let Ok(bytes) = buf.cast_exact::<PyBytes>() {
            let bytes = part(bytes.as_bytes(), offset, size)?;
            return self.send_memory(py, handle, bytes.as_ptr(), bytes.len());
        }
        let view = PyUntypedBuffer::get(buf)?;
        if !view.is_c_contiguous() {
            if view.item_size() > 1 {
                return Err(PyTypeError::new_err(
                    "memoryview: casts are restricted to C-contiguous views",
                ));
            }
            // SAFETY: a new bytes object with the contents of a buffer, or an exception. Attached, as `py` proves.
            let copy =
                unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyBytes_FromObject(buf.as_ptr()))? };
            let bytes = part(copy.cast::<PyBytes>()?.as_bytes(), offset, size)?;
            return self.send_memory(py, handle, bytes.as_ptr(), bytes.len());
        }
        let start = match view.len_bytes() {
            0 => std::ptr::NonNull::dangling().as_ptr(),
            _ => view.buf_ptr().cast::<u8>(),
        };
        // Only where it is and how long is taken from this slice: others may write what it holds.
        // SAFETY: as many bytes are there as long as the view.
        let all = unsafe { std::slice::from_raw_parts(start, view.len_bytes()) };
        let wanted = part(all, offset, size)?;
        self.send_memory(py, handle, wanted.as_ptr(), wanted.len())
    }

    /// Sends what was written to the sink, as one message, and empties it.
    fn _send_sink(&self, py: Python<'_>, sink: &Bound<'_, Sink>) -> PyResult<()> {
        let handle = self.to_write()?;
        let written = sink.get().take();
        let header = Header::of(written.total());
        let mut vectors = written.vectors(py, header.piece());
        // SAFETY: the header is above, and the rest is kept by `written`.
        let pieces = unsafe { Pieces::new(&mut vectors) };
        let channel = self.channel.get(handle);
        outgoing::send(py, handle, channel, pieces, written.total())
    }

    /// Receive bytes data as a bytes object.
    #[pyo3(signature = (maxlength = None))]
    fn recv_bytes<'py>(
        &self,
        py: Python<'py>,
        maxlength: Option<i64>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let handle = self.to_read()?;
        let most = maxlength
            .map(u64::try_from)
            .transpose()
            .map_err(|_| PyValueError::new_err("negative maxlength"))?;
        self.receive(py, handle, most)
    }

    /// Receives a message into a writable bytes-like object, `offset` bytes after its beginning. Returns its length; or the
    /// message, if there is no room for it.
    #[pyo3(signature = (buf, offset = 0))]
    fn _recv_into<'py>(
        &self,
        py: Python<'py>,
        buf: &Bound<'_, PyAny>,
        offset: isize,
    ) -> PyResult<Bound<'py, PyAny>> {
        let handle = self.to_read()?;
        let view = PyUntypedBuffer::get(buf)?;
        if view.readonly() {
            return Err(PyTypeError::new_err(
                "recv_bytes_into() argument must be read-write bytes-like object",
            ));
        }
        if !view.is_c_contiguous() {
            return Err(PyTypeError::new_err(
                "recv_bytes_into() argument must be a contiguous buffer",
            ));
        }
        let offset =
            usize::try_from(offset).map_err(|_| PyValueError::new_err("negative offset"))?;
        let room = view
            .len_bytes()
            .checked_sub(offset)
            .ok_or_else(|| PyValueError::new_err("offset too large"))?;
        // SAFETY: not past the end.
        let start = unsafe { view.buf_ptr().cast::<u8>().add(offset) };
        let mut place = MaybeUninit::uninit();
        let length = match self.begin(py, handle, None, &mut place)? {
            Message::Small(length) if length <= room => {
                let message = filled(&place, length);
                // SAFETY: there is room for as many bytes, which are on the stack now.
                unsafe { start.copy_from_nonoverlapping(message.as_ptr(), length) };
                length
            }
            Message::Small(length) => {
                return Ok(PyBytes::new(py, filled(&place, length)).into_any());
            }
            Message::Large(length) => {
                let channel = self.channel.get(handle);
                if length > room {
                    let message = incoming::bytes(py, handle, channel, &self.flowing, length)?;
                    return Ok(message.into_bound(py).into_any());
                }
                io::prefer_huge_pages(start, length);
                // SAFETY: the view keeps the memory, and it is the caller's word that nobody else writes it meanwhile.
                let room = unsafe { Room::new(start, length) };
                incoming::rest(py, handle, channel, &self.flowing, room)?;
                length
            }
        };
        Ok(length.into_pyobject(py)?.into_any())
    }

    /// Whether there is any input available to be read
    #[pyo3(signature = (timeout = Some(0.0)))]
    fn poll(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        wait::one(py, self.to_read()?, timeout)
    }
}

/// The part of `bytes` that `send_bytes` is asked to send.
fn part(bytes: &[u8], offset: isize, size: Option<isize>) -> PyResult<&[u8]> {
    let wrong = |text: &'static str| PyValueError::new_err(text);
    let offset = usize::try_from(offset).map_err(|_| wrong("offset is negative"))?;
    let rest = bytes
        .get(offset..)
        .ok_or_else(|| wrong("buffer length < offset"))?;
    let Some(size) = size else {
        return Ok(rest);
    };
    let size = usize::try_from(size).map_err(|_| wrong("size is negative"))?;
    rest.get(..size)
        .ok_or_else(|| wrong("buffer length < offset + size"))
}
