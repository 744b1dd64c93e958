//! What Event stands on: a flag that many wait for.

use std::ffi::CStr;

use allcores::sync::{self, Scope, Waited};
use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::timeout_of;
use crate::block::{Slept, block};
use crate::raw::{self, Args, Object, Raw, TypeCell, boolean, method, none, slowly};

/// The value of an `EventBase`.
#[derive(Default)]
struct Event(sync::Event);

static EVENT: TypeCell = TypeCell::new();

#[inline]
fn is_set(this: &Object<Event>) -> *mut PyObject {
    boolean(this.value.0.is_set())
}

#[inline]
fn set(this: &Object<Event>) -> *mut PyObject {
    // SAFETY: live: the object that it lies in is held by the caller.
    unsafe { sync::Event::set(&raw const this.value.0, Scope::PRIVATE) };
    none()
}

#[inline]
fn clear(this: &Object<Event>) -> *mut PyObject {
    this.value.0.clear();
    none()
}

#[inline]
fn wait(this: &Object<Event>, args: Args) -> *mut PyObject {
    if this.value.0.is_set() && args.is_empty() {
        return boolean(true);
    }
    wait_slow(this, args)
}

#[cold]
fn wait_slow(this: &Object<Event>, args: Args) -> *mut PyObject {
    slowly(|py| {
        let event = &this.value.0;
        // Before anything that may run a signal handler: a set() there counts, even if it is cleared again at once.
        let moment = event.moment();
        let [timeout] = args.bind(py, "wait", ["timeout"])?;
        let deadline = timeout_of(timeout)?;
        if event.is_set() {
            return Ok(boolean(true));
        }
        if deadline.is_now() {
            return Ok(boolean(false));
        }
        let waited = block(py, || {
            match event.wait_since(Scope::PRIVATE, deadline, moment) {
                Waited::Interrupted => Slept::Interrupted,
                waited => Slept::Over(waited),
            }
        })?;
        Ok(boolean(waited == Waited::Yes))
    })
}

fn at_fork_reinit(_: &Object<Event>) -> *mut PyObject {
    // One word that no thread can leave half-changed; who waited in the parent costs one wake for nobody.
    none()
}

impl Raw for Event {
    const NAME: &'static CStr = c"allcores._allcores.EventBase";
    const DOC: &'static CStr = c"What Event stands on.";
    const SUBCLASS: bool = true;

    fn cell() -> &'static TypeCell {
        &EVENT
    }

    // Any arguments: they are for __init__, which may be a subclass's.
    fn new(_: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>) -> PyResult<Event> {
        Ok(Event::default())
    }

    fn methods() -> Vec<ffi::PyMethodDef> {
        const WAIT: &str = "wait($self, /, timeout=None)\n--\n\n\
            Wait until the flag is true, for timeout seconds at most; whether it became true in that time.\n\n\
            A set() that is followed by clear() at once releases all who wait.";
        const SET: &str = "set($self, /)\n--\n\n\
            Make the flag true, and wake all who wait for that.\n\n\
            May be called in a signal handler whatever it has interrupted.";
        vec![
            method!(
                Event,
                "is_set",
                noargs,
                is_set,
                "is_set($self, /)\n--\n\nWhether the flag is true."
            ),
            method!(Event, "set", noargs, set, SET),
            method!(
                Event,
                "clear",
                noargs,
                clear,
                "clear($self, /)\n--\n\nMake the flag false."
            ),
            method!(Event, "wait", many, wait, WAIT),
            method!(
                Event,
                "_at_fork_reinit",
                noargs,
                at_fork_reinit,
                "_at_fork_reinit($self, /)\n--\n\nFor a forked child: the flag stays as it is."
            ),
        ]
    }
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    raw::create::<Event>(module)
}
