//! A frame on its way in.

use std::mem::MaybeUninit;
use std::time::{Duration, Instant};

use allcores::face::{Looked, Looking, Sighting, look};
use pyo3::exceptions::{PyEOFError, PyOSError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::io::{self, Channel, Known, Room, Step};
use crate::block::{Slept, block};

/// A message up to this size is read together with its header, to where the stack has room for it.
pub(super) const SMALL: usize = 8 << 10;

/// The most that is reserved on the word of a header, before anything of the message has come. It is address space: a page
/// of it costs memory when the bytes for it come.
const AHEAD: usize = 256 << 20;

/// For a large message that comes more slowly than so many bytes in a nanosecond we sleep.
const SLOWEST: u64 = 2;

/// So many nanoseconds are always granted to it.
const LEAST: u64 = 40_000;

/// How many bytes of a large message are received before the handlers of signals have their turn.
const LEG: usize = 32 << 20;

/// A header, and what came with it.
pub(super) enum Arrived {
    /// The whole message is in the place for small ones.
    Small(usize),
    /// The message is still to come.
    Large(usize),
    /// It is longer than the caller allows, or than anything can be. Nothing of it was read.
    TooLong,
}

pub(super) type SmallPlace = MaybeUninit<[u8; SMALL]>;

/// Where a frame ends that is cut off.
fn cut_off() -> PyErr {
    PyOSError::new_err("got end of file during message")
}

/// Waits for a header and, if the message is small, for the message. Before it sleeps until there is one it looks for it, where
/// that has paid.
pub(super) fn begin(
    py: Python<'_>,
    fd: i32,
    known: &Known,
    looking: &Looking,
    most: Option<u64>,
    place: &mut SmallPlace,
) -> PyResult<Arrived> {
    let (mut four, mut eight) = ([0u8; 4], [0u8; 8]);
    // SAFETY: it lives as long as this function, and is reached by this alone.
    let mut short = unsafe { Room::new(four.as_mut_ptr(), 4) };
    // SAFETY: likewise.
    let mut long = unsafe { Room::new(eight.as_mut_ptr(), 8) };
    // SAFETY: the caller lends it for as long; its length is what a small message has at most.
    let mut small = unsafe { Room::new(place.as_mut_ptr().cast(), 0) };
    let mut length = None;
    let channel = known.get(fd);
    let mut looks = channel.can_try() && looking.is_worthwhile();
    let mut found = None;

    // All of it in one go, so that the interpreter is let go once; it is taken up where it was after a signal.
    let mut read = || -> Result<Arrived, Step> {
        let size = match length {
            Some(size) => size,
            None => {
                if std::mem::take(&mut looks) {
                    found = first(&mut short, fd, known, looking)?;
                }
                known_good(short.receive(fd, channel, true))?;
                let number = i32::from_be_bytes(whole(&short));
                let announced = if number == -1 {
                    known_good(long.receive(fd, channel, true))?;
                    u64::from_be_bytes(whole(&long))
                } else {
                    // Other negative numbers mean nothing.
                    u64::try_from(number).unwrap_or(u64::MAX)
                };
                if most.is_some_and(|most| announced > most) {
                    return Ok(Arrived::TooLong);
                }
                let Some(size) = usize::try_from(announced)
                    .ok()
                    .filter(|length| *length <= isize::MAX as usize - 64)
                else {
                    return Ok(Arrived::TooLong);
                };
                length = Some(size);
                if size <= SMALL {
                    small.lengthen(size);
                }
                size
            }
        };
        if size > SMALL {
            return Ok(Arrived::Large(size));
        }
        known_good(small.receive(fd, channel, true))?;
        Ok(Arrived::Small(size))
    };
    let arrived = block(py, || match read() {
        Err(Step::Interrupted) => Slept::Interrupted,
        other => Slept::Over(other),
    })?;
    if let Some(found) = found {
        looking.is_of_use(found);
    }
    match arrived {
        Ok(arrived) => Ok(arrived),
        Err(Step::Failed(number)) => Err(io::os_error(number)),
        Err(_) if short.filled().is_empty() => Err(PyEOFError::new_err(())),
        Err(_) => Err(cut_off()),
    }
}

/// Looks for what comes first, and tells when it was found. A look in vain ends as if a signal had come.
fn first(
    room: &mut Room,
    fd: i32,
    known: &Known,
    looking: &Looking,
) -> Result<Option<Sighting>, Step> {
    let channel = known.get(fd);
    let looked = look(|| match room.receive(fd, channel, false) {
        Step::Later => Ok(None),
        Step::Done => Ok(Some(())),
        Step::Failed(_) if channel == Channel::Pipe => {
            // A read that waits will tell of it, if it is an error.
            known.cannot_try();
            Ok(Some(()))
        }
        step => Err(step),
    })?;
    match looked {
        Looked::AtOnce(()) => {
            // There a try costs more than a read. Of a socket both are the same call.
            if channel == Channel::Pipe {
                looking.was_there();
            }
            Ok(None)
        }
        Looked::Found(()) => Ok(Some(Sighting::now())),
        Looked::InVain => {
            looking.was_in_vain();
            // No call has told of a signal that came meanwhile, nor would the next one: it would sleep.
            Err(Step::Interrupted)
        }
    }
}

fn whole<const N: usize>(number: &Room) -> [u8; N] {
    number
        .filled()
        .try_into()
        .expect("it was received to the end")
}

fn known_good(step: Step) -> Result<(), Step> {
    match step {
        Step::Done => Ok(()),
        step => Err(step),
    }
}

/// Waits until a message has come that goes to `room`.
pub(super) fn rest(
    py: Python<'_>,
    fd: i32,
    channel: Channel,
    looking: &Looking,
    mut room: Room,
) -> PyResult<()> {
    let mut looks = channel == Channel::Socket && looking.is_worthwhile();
    let mut found = None;
    let received = block(py, || {
        if std::mem::take(&mut looks) {
            match flow(&mut room, fd, channel, looking) {
                Ok(sighting) => found = sighting,
                Err(Step::Interrupted) => return Slept::Interrupted,
                Err(step) => return Slept::Over(step),
            }
            looks = room.missing() > 0;
            if looks {
                return Slept::Interrupted;
            }
        }
        match room.receive(fd, channel, true) {
            Step::Interrupted => Slept::Interrupted,
            step => Slept::Over(step),
        }
    })?;
    if let Some(found) = found {
        looking.is_of_use(found);
    }
    match received {
        Step::Done => Ok(()),
        Step::Failed(number) => Err(io::os_error(number)),
        _ => Err(cut_off()),
    }
}

/// Receives what flows as fast as a process can write it, without sleeping in between: to wake us for each piece would cost the
/// sender a fifth of its time. Tells when it was here, if some of it had to be looked for.
///
/// At most a [`LEG`], since no call tells of a signal here. A sender that is slow, or stops, has us return as if there had been
/// one.
fn flow(
    room: &mut Room,
    fd: i32,
    channel: Channel,
    looking: &Looking,
) -> Result<Option<Sighting>, Step> {
    let leg = room.missing().min(LEG);
    let goal = room.missing() - leg;
    let slowest = Duration::from_nanos(leg as u64 / SLOWEST + LEAST);
    let began = Instant::now();
    let mut found = false;
    while room.missing() > goal {
        let before = room.missing();
        let looked = look(|| match room.receive(fd, channel, false) {
            Step::Later if room.missing() == before => Ok(None),
            Step::Later | Step::Done => Ok(Some(())),
            step => Err(step),
        })?;
        found |= matches!(looked, Looked::Found(()));
        let over = room.missing() <= goal;
        if matches!(looked, Looked::InVain) || !over && began.elapsed() > slowest {
            looking.was_in_vain();
            return Err(Step::Interrupted);
        }
    }
    Ok(found.then(Sighting::now))
}

/// Waits until a message of that length has come, and gives it as a bytes object that was filled in place.
///
/// A long one is not given all its memory on the word of a header, but as it comes.
pub(super) fn bytes(
    py: Python<'_>,
    fd: i32,
    channel: Channel,
    looking: &Looking,
    length: usize,
) -> PyResult<Py<PyBytes>> {
    // What CPython puts before the bytes of a bytes object, and the zero after them.
    const OBJECT: usize = 33;
    let capacity = |wanted: usize| io::in_huge_pages(wanted + OBJECT) - OBJECT;
    let mut message = Growing::new(py, capacity(length.min(AHEAD)))?;
    let mut received = 0;
    loop {
        let here = length.min(message.size()) - received;
        // SAFETY: not past its end.
        let start = unsafe { message.start().add(received) };
        io::prefer_huge_pages(start, here);
        // SAFETY: the object is not known to anybody else, and lives on in `message`.
        rest(py, fd, channel, looking, unsafe { Room::new(start, here) })?;
        received += here;
        if received == length {
            message.resize(length)?;
            return Ok(message.into_bytes(py));
        }
        let next = length.min(received.saturating_mul(4));
        message.resize(capacity(next))?;
    }
}

unsafe extern "C" {
    /// Part of the stable ABI, and not public in pyo3.
    fn _PyBytes_Resize(bytes: *mut *mut ffi::PyObject, size: isize) -> i32;
}

/// A bytes object whose size is still to be settled.
struct Growing<'py> {
    object: *mut ffi::PyObject,
    py: Python<'py>,
}

impl<'py> Growing<'py> {
    fn new(py: Python<'py>, size: usize) -> PyResult<Growing<'py>> {
        // SAFETY: makes a new object, whose bytes are whatever they are. Attached, as `py` proves.
        let object = unsafe { ffi::PyBytes_FromStringAndSize(std::ptr::null(), size as isize) };
        if object.is_null() {
            return Err(PyErr::fetch(py));
        }
        Ok(Growing { object, py })
    }

    fn size(&self) -> usize {
        // SAFETY: it is a bytes object.
        unsafe { ffi::PyBytes_Size(self.object) as usize }
    }

    fn start(&self) -> *mut u8 {
        // SAFETY: it is a bytes object.
        unsafe { ffi::PyBytes_AsString(self.object).cast() }
    }

    fn resize(&mut self, size: usize) -> PyResult<()> {
        if size == self.size() {
            return Ok(());
        }
        // SAFETY: nobody else has a reference. On failure it is gone, and the pointer null.
        if unsafe { _PyBytes_Resize(&mut self.object, size as isize) } == 0 {
            Ok(())
        } else {
            Err(PyErr::fetch(self.py))
        }
    }

    fn into_bytes(mut self, py: Python<'py>) -> Py<PyBytes> {
        let object = std::mem::replace(&mut self.object, std::ptr::null_mut());
        // SAFETY: a reference that is ours, to a bytes object.
        unsafe { Bound::from_owned_ptr(py, object).cast_into_unchecked() }.unbind()
    }
}

impl Drop for Growing<'_> {
    fn drop(&mut self) {
        // SAFETY: our reference, or null; attached, as `py` proves.
        unsafe { ffi::Py_XDECREF(self.object) };
    }
}
