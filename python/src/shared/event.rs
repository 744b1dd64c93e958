//! `_allcores.SharedEvent`: what Event of `allcores.multiprocessing` is made of.

use std::ffi::CStr;

use allcores::multiprocessing::Event;
use allcores::sync::Waited;
use pyo3::IntoPyObjectExt;
use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple};

use super::{arena, raise};
use crate::block::{Slept, block, lenient_deadline};
use crate::forks::Filled;
use crate::raw::{self, Args, Object, Raw, TypeCell, boolean, method, none, slowly};

/// Made empty by `__new__`, and filled once.
#[derive(Default)]
pub(super) struct SharedEvent(Filled<Event>);

pub(super) static EVENT: TypeCell = TypeCell::new();

type This = Object<SharedEvent>;

impl SharedEvent {
    fn get(&self) -> PyResult<&Event> {
        let made = self.0.get();
        made.ok_or_else(|| PyRuntimeError::new_err("Event.__init__() was not called"))
    }
}

#[inline]
fn with(this: &This, work: impl FnOnce(&Event) -> *mut PyObject) -> *mut PyObject {
    match this.value.0.get() {
        Some(event) => work(event),
        None => slowly(|_| this.value.get().map(|_| none())),
    }
}

fn is_set(this: &This) -> *mut PyObject {
    with(this, |event| boolean(event.is_set()))
}

fn set(this: &This) -> *mut PyObject {
    with(this, |event| {
        event.set();
        none()
    })
}

fn clear(this: &This) -> *mut PyObject {
    with(this, |event| {
        event.clear();
        none()
    })
}

fn wait(this: &This, args: Args) -> *mut PyObject {
    match this.value.0.get() {
        Some(event) if event.is_set() && args.is_empty() => boolean(true),
        _ => wait_slowly(this, args),
    }
}

#[cold]
fn wait_slowly(this: &This, args: Args) -> *mut PyObject {
    slowly(|py| {
        let (event, scope) = this.value.get()?.words();
        // Before anything that may run a signal handler: a set() there counts, even if it is cleared again at once.
        let moment = event.moment();
        let [timeout] = args.bind(py, "wait", ["timeout"])?;
        let timeout = timeout.map(|timeout| timeout.extract()).transpose()?;
        let deadline = lenient_deadline(timeout.flatten())?;
        if event.is_set() {
            return Ok(boolean(true));
        }
        if deadline.is_now() {
            return Ok(boolean(false));
        }
        let waited = block(py, || match event.wait_since(scope, deadline, moment) {
            Waited::Interrupted => Slept::Interrupted,
            waited => Slept::Over(waited),
        })?;
        Ok(boolean(waited == Waited::Yes))
    })
}

fn create(this: &This) -> *mut PyObject {
    slowly(|_| {
        let _ = this.value.0.set(Event::new().map_err(raise::shm)?);
        Ok(none())
    })
}

fn pack(this: &This) -> *mut PyObject {
    slowly(|py| {
        let packed = arena::pack(py, this.value.get()?)?;
        packed.into_py_any(py).map(Py::into_ptr)
    })
}

fn open(this: &This, packed: *mut PyObject) -> *mut PyObject {
    slowly(|py| {
        // SAFETY: an argument of this call.
        let packed = unsafe { Borrowed::from_ptr(py, packed) };
        let event = arena::unpack(packed.cast::<PyBytes>()?.as_bytes())?;
        let _ = this.value.0.set(event);
        Ok(none())
    })
}

impl Raw for SharedEvent {
    const NAME: &'static CStr = c"allcores._allcores.SharedEvent";
    const DOC: &'static CStr = c"What an Event that processes share is made of.";
    const SUBCLASS: bool = true;

    fn cell() -> &'static TypeCell {
        &EVENT
    }

    fn new(_: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>) -> PyResult<SharedEvent> {
        Ok(SharedEvent::default())
    }

    #[rustfmt::skip]
    fn methods() -> Vec<ffi::PyMethodDef> {
        const WAIT: &str = "wait($self, /, timeout=None)\n--\n\n\
            Wait until it is set, for timeout seconds at most; whether it was set in that time.\n\n\
            A set() that is followed by clear() at once releases all who wait.";
        vec![
            method!(SharedEvent, "is_set", noargs, is_set, "is_set($self, /)\n--\n\nWhether it is set."),
            method!(SharedEvent, "set", noargs, set, "set($self, /)\n--\n\nSet it, and wake all who wait for that."),
            method!(SharedEvent, "clear", noargs, clear, "clear($self, /)\n--\n\nClear it."),
            method!(SharedEvent, "wait", many, wait, WAIT),
            method!(SharedEvent, "_create", noargs, create, "_create($self, /)\n--\n\nMake it."),
            method!(SharedEvent, "_pack", noargs, pack, "_pack($self, /)\n--\n\nIts name as bytes, and the descriptors of its arenas."),
            method!(SharedEvent, "_open", one, open, "_open($self, packed, /)\n--\n\nOpen what _pack() packed."),
        ]
    }
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    raw::create::<SharedEvent>(module)
}
