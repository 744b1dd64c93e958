//! What Barrier stands on: threads that wait until all have come.

use std::ffi::CStr;

use allcores::sync::barrier::{Arrival, Arrived, BarrierWaited};
use allcores::sync::{self, Deadline, Scope};
use pyo3::exceptions::{PyOverflowError, PyRuntimeError, PyValueError};
use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::timeout_of;
use crate::block::{Slept, block};
use crate::forks::Filled;
use crate::raw::{
    self, Args, Object, Raw, TypeCell, boolean, int, method, none, property, raise, slowly,
};

/// The value of a `BarrierBase`; empty before `_begin`.
struct Barrier(Filled<sync::Barrier>);

static BARRIER: TypeCell = TypeCell::new();

impl Barrier {
    fn get(&self) -> PyResult<&sync::Barrier> {
        let begun = self.0.get();
        begun.ok_or_else(|| PyRuntimeError::new_err("Barrier.__init__() not called"))
    }
}

/// The last one that came, whose action has to run now.
#[pyclass(frozen, module = "allcores._allcores")]
struct BarrierArrival(Arrival);

#[cold]
fn broken_error(py: Python<'_>) -> PyErr {
    let class = py
        .import("threading")
        .and_then(|threading| threading.getattr("BrokenBarrierError"))
        .and_then(|class| class.call0());
    class.map_or_else(|error| error, PyErr::from_value)
}

fn arrive(this: &Object<Barrier>, args: Args) -> *mut PyObject {
    slowly(|py| {
        let [timeout, has_action] = args.bind(py, "_arrive", ["timeout", "has_action"])?;
        let barrier = this.value.get()?;
        let mut arrived = barrier.arrive(Scope::PRIVATE, &[], Deadline::NOW);
        if arrived == Arrived::TimedOut {
            // The generation before is not over: nothing is timed before this party is in.
            arrived = block(py, || {
                match barrier.arrive(Scope::PRIVATE, &[], Deadline::NEVER) {
                    Arrived::Interrupted => Slept::Interrupted,
                    arrived => Slept::Over(arrived),
                }
            })?;
        }
        let Arrived::Yes(arrival) = arrived else {
            return Err(broken_error(py));
        };
        let index = int(arrival.index.into());
        if arrival.last {
            if has_action.is_some_and(|has_action| has_action.is_truthy().unwrap_or(true)) {
                return Ok(Bound::new(py, BarrierArrival(arrival))?.into_ptr());
            }
            return match barrier.complete(Scope::PRIVATE, arrival) {
                Ok(()) => Ok(index),
                Err(_) => Err(broken_error(py)),
            };
        }
        let waited = timeout_of(timeout).and_then(|deadline| {
            block(py, || {
                match barrier.sleep(Scope::PRIVATE, &[], &arrival, deadline) {
                    BarrierWaited::Interrupted => Slept::Interrupted,
                    waited => Slept::Over(waited),
                }
            })
        });
        match waited {
            Ok(BarrierWaited::Passed) => Ok(index),
            Ok(_) => Err(broken_error(py)),
            // A bad timeout, or what a signal handler raised: as if this party had not come.
            Err(error) => {
                barrier.retract(Scope::PRIVATE, &[], arrival);
                Err(error)
            }
        }
    })
}

fn complete(this: &Object<Barrier>, arrival: *mut PyObject) -> *mut PyObject {
    slowly(|py| {
        // SAFETY: an argument of this call.
        let arrival = unsafe { Borrowed::from_ptr(py, arrival) };
        let arrival = arrival.cast::<BarrierArrival>()?.get().0;
        match this.value.get()?.complete(Scope::PRIVATE, arrival) {
            Ok(()) => Ok(int(arrival.index.into())),
            Err(_) => Err(broken_error(py)),
        }
    })
}

fn begin(this: &Object<Barrier>, parties: *mut PyObject) -> *mut PyObject {
    slowly(|py| {
        // SAFETY: an argument of this call.
        let parties = unsafe { Borrowed::from_ptr(py, parties) }.extract::<i64>()?;
        if parties < 1 {
            return Err(PyValueError::new_err("parties must be > 0"));
        }
        let parties = u32::try_from(parties)
            .ok()
            .filter(|n| *n <= sync::Barrier::MAX);
        let parties = parties.ok_or_else(|| {
            PyOverflowError::new_err(format!(
                "a barrier has {} parties at most",
                sync::Barrier::MAX
            ))
        })?;
        match this.value.0.set(sync::Barrier::new(parties)) {
            Ok(()) => Ok(none()),
            Err(_) => Err(PyRuntimeError::new_err("Barrier.__init__() called twice")),
        }
    })
}

fn reset(this: &Object<Barrier>) -> *mut PyObject {
    with(this, |barrier| {
        barrier.reset(Scope::PRIVATE);
        none()
    })
}

fn abort(this: &Object<Barrier>) -> *mut PyObject {
    with(this, |barrier| {
        barrier.abort(Scope::PRIVATE);
        none()
    })
}

fn parties(this: &Object<Barrier>) -> *mut PyObject {
    with(this, |barrier| int(barrier.parties().into()))
}

fn n_waiting(this: &Object<Barrier>) -> *mut PyObject {
    with(this, |barrier| int(barrier.n_waiting().into()))
}

fn broken(this: &Object<Barrier>) -> *mut PyObject {
    with(this, |barrier| boolean(barrier.broken()))
}

fn with(
    this: &Object<Barrier>,
    body: impl FnOnce(&sync::Barrier) -> *mut PyObject,
) -> *mut PyObject {
    match this.value.get() {
        Ok(barrier) => body(barrier),
        Err(error) => raise(error),
    }
}

impl Raw for Barrier {
    const NAME: &'static CStr = c"allcores._allcores.BarrierBase";
    const DOC: &'static CStr = c"What Barrier stands on.";
    const SUBCLASS: bool = true;

    fn cell() -> &'static TypeCell {
        &BARRIER
    }

    // Any arguments: they are for __init__, which may be a subclass's.
    fn new(_: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>) -> PyResult<Barrier> {
        Ok(Barrier(Filled::default()))
    }

    fn methods() -> Vec<ffi::PyMethodDef> {
        const RESET: &str = "reset($self, /)\n--\n\n\
            Make the barrier whole and empty. Those who wait get BrokenBarrierError.";
        const ABORT: &str = "abort($self, /)\n--\n\n\
            Break the barrier: who waits or comes gets BrokenBarrierError, until reset() is called.";
        vec![
            method!(Barrier, "reset", noargs, reset, RESET),
            method!(Barrier, "abort", noargs, abort, ABORT),
            method!(
                Barrier,
                "_begin",
                one,
                begin,
                "_begin($self, parties, /)\n--\n\nBe a barrier for so many."
            ),
            method!(
                Barrier,
                "_arrive",
                many,
                arrive,
                "_arrive($self, /, timeout=None, has_action=False)\n--\n\n\
                 Wait for the others: this party's number. To the last one, if there is an action to be run, what\n\
                 _complete() takes after that."
            ),
            method!(
                Barrier,
                "_complete",
                one,
                complete,
                "_complete($self, arrival, /)\n--\n\nLet all pass: this party's number."
            ),
        ]
    }

    fn properties() -> Vec<ffi::PyGetSetDef> {
        vec![
            property!(Barrier, "parties", parties, "How many threads must come."),
            property!(Barrier, "n_waiting", n_waiting, "How many threads wait."),
            property!(Barrier, "broken", broken, "Whether the barrier is broken."),
        ]
    }
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<BarrierArrival>()?;
    raw::create::<Barrier>(module)
}
