//! What Semaphore and BoundedSemaphore stand on: a number of permits.

use std::ffi::CStr;

use allcores::sync::{self, Deadline, Scope, Waited};
use pyo3::exceptions::{PyOverflowError, PyValueError};
use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::timeout_of;
use crate::block::{Slept, block};
use crate::raw::{
    self, Args, Object, Raw, TypeCell, boolean, int, method, none, property, slowly, special,
    special_method,
};

/// The value of a `SemaphoreBase`.
struct Semaphore(sync::Semaphore);

static SEMAPHORE: TypeCell = TypeCell::new();

#[inline]
fn acquire(this: &Object<Semaphore>, args: Args) -> *mut PyObject {
    if args.is_empty() && this.value.0.try_acquire() {
        return boolean(true);
    }
    // SAFETY: False lives for ever; only its address is looked at.
    if args.only() == Some(unsafe { ffi::Py_False() }) {
        return boolean(this.value.0.try_acquire());
    }
    acquire_slow(this, args)
}

#[cold]
fn acquire_slow(this: &Object<Semaphore>, args: Args) -> *mut PyObject {
    slowly(|py| {
        let [blocking, timeout] = args.bind(py, "acquire", ["blocking", "timeout"])?;
        let blocking = blocking.map_or(Ok(true), |blocking| blocking.is_truthy())?;
        let timeout = timeout.filter(|timeout| !timeout.is_none());
        if !blocking && timeout.is_some() {
            return Err(PyValueError::new_err(
                "can't specify timeout for non-blocking acquire",
            ));
        }
        let deadline = match blocking {
            true => timeout_of(timeout)?,
            false => Deadline::NOW,
        };
        let semaphore = &this.value.0;
        if semaphore.try_acquire() {
            return Ok(boolean(true));
        }
        if deadline.is_now() {
            return Ok(boolean(false));
        }
        let waited = block(py, || match semaphore.acquire(Scope::PRIVATE, deadline) {
            Waited::Interrupted => Slept::Interrupted,
            waited => Slept::Over(waited),
        })?;
        Ok(boolean(waited == Waited::Yes))
    })
}

#[inline]
fn give(this: &Object<Semaphore>, permits: u32) -> bool {
    // SAFETY: live: the object that it lies in is held by the caller.
    unsafe { sync::Semaphore::release(&raw const this.value.0, Scope::PRIVATE, permits) }.is_ok()
}

#[inline]
fn release(this: &Object<Semaphore>, args: Args) -> *mut PyObject {
    if args.is_empty() && give(this, 1) {
        return none();
    }
    release_slow(this, args)
}

#[cold]
fn release_slow(this: &Object<Semaphore>, args: Args) -> *mut PyObject {
    slowly(|py| {
        let [permits] = args.bind(py, "release", ["n"])?;
        let permits = permits.map_or(Ok(1), |permits| permits.extract::<i64>())?;
        if permits < 1 {
            return Err(PyValueError::new_err("n must be one or more"));
        }
        if u32::try_from(permits).is_ok_and(|permits| give(this, permits)) {
            Ok(none())
        } else if this.value.0.max() < sync::Semaphore::MAX {
            Err(PyValueError::new_err("Semaphore released too many times"))
        } else {
            Err(too_many())
        }
    })
}

fn too_many() -> PyErr {
    PyOverflowError::new_err("a semaphore counts to 2147483647 at most")
}

#[inline]
fn exit(this: &Object<Semaphore>, _: Args) -> *mut PyObject {
    release(this, Args::NONE)
}

fn begin(this: &Object<Semaphore>, args: Args) -> *mut PyObject {
    slowly(|py| {
        let [value, bounded] = args.bind(py, "_begin", ["value", "bounded"])?;
        let value = value.map_or(Ok(1), |value| value.extract::<i64>())?;
        let bounded = bounded.map_or(Ok(false), |bounded| bounded.is_truthy())?;
        if value < 0 {
            return Err(PyValueError::new_err(
                "semaphore initial value must be >= 0",
            ));
        }
        let value = u32::try_from(value)
            .ok()
            .filter(|value| *value <= sync::Semaphore::MAX);
        let value = value.ok_or_else(too_many)?;
        let max = if bounded { value } else { sync::Semaphore::MAX };
        this.value.0.begin(value, max);
        Ok(none())
    })
}

fn value(this: &Object<Semaphore>) -> *mut PyObject {
    int(this.value.0.value().into())
}

fn max(this: &Object<Semaphore>) -> *mut PyObject {
    int(this.value.0.max().into())
}

impl Raw for Semaphore {
    const NAME: &'static CStr = c"allcores._allcores.SemaphoreBase";
    const DOC: &'static CStr = c"What Semaphore and BoundedSemaphore stand on.";
    const SUBCLASS: bool = true;

    fn cell() -> &'static TypeCell {
        &SEMAPHORE
    }

    // Any arguments: they are for __init__, which may be a subclass's.
    fn new(_: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>) -> PyResult<Semaphore> {
        Ok(Semaphore(sync::Semaphore::new(1, sync::Semaphore::MAX)))
    }

    fn specials() -> Vec<special::Definition> {
        vec![
            special_method!(
                Semaphore,
                "__enter__",
                acquire,
                "($self, /)",
                "Take one permit."
            ),
            special_method!(
                Semaphore,
                "__exit__",
                exit,
                "($self, /, *exc_info)",
                "Return one permit."
            ),
        ]
    }

    fn methods() -> Vec<ffi::PyMethodDef> {
        const ACQUIRE: &str = "acquire($self, /, blocking=True, timeout=None)\n--\n\n\
            Take one permit, waiting until there is one.\n\n\
            With blocking=False do not wait, with a timeout (in seconds) not longer than that: returns whether a permit\n\
            was taken. May be called in a signal handler whatever it has interrupted.";
        const RELEASE: &str = "release($self, /, n=1)\n--\n\n\
            Return n permits, and wake as many threads that wait for one.\n\n\
            ValueError if a bounded semaphore would have more than in the beginning. May be called in a signal handler\n\
            whatever it has interrupted.";
        vec![
            method!(Semaphore, "acquire", many, acquire, ACQUIRE),
            method!(Semaphore, "release", many, release, RELEASE),
            method!(
                Semaphore,
                "_begin",
                many,
                begin,
                "_begin($self, /, value=1, bounded=False)\n--\n\nStart anew with so many permits."
            ),
        ]
    }

    fn properties() -> Vec<ffi::PyGetSetDef> {
        vec![
            property!(Semaphore, "_value", value, "How many permits are left."),
            property!(Semaphore, "_max", max, "The most permits there may be."),
        ]
    }
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    raw::create::<Semaphore>(module)
}
