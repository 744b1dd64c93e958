//! `_allcores.SharedBarrier`: what Barrier of `allcores.multiprocessing` is made of.

use allcores::multiprocessing::{Barrier, BarrierError};
use allcores::sync::Deadline;
use allcores::sync::barrier::{Arrival, Arrived, BarrierWaited};
use pyo3::IntoPyObjectExt;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use super::{arena, raise};
use crate::block::{Slept, block, lenient_deadline};

/// As many parties as it was made for wait for each other.
#[pyclass(frozen, module = "allcores._allcores")]
pub(super) struct SharedBarrier(Barrier);

/// The last party that came, whose action has to run now.
#[pyclass(frozen, module = "allcores._allcores")]
struct SharedArrival(Arrival);

#[cold]
fn broken(py: Python<'_>) -> PyErr {
    let class = py
        .import("threading")
        .and_then(|threading| threading.getattr("BrokenBarrierError"))
        .and_then(|class| class.call0());
    class.map_or_else(|error| error, PyErr::from_value)
}

#[pymethods]
impl SharedBarrier {
    #[new]
    fn new(parties: i64) -> PyResult<SharedBarrier> {
        if parties < 1 {
            return Err(PyValueError::new_err("parties must be > 0"));
        }
        match Barrier::new(u32::try_from(parties).unwrap_or(u32::MAX)) {
            Ok(barrier) => Ok(SharedBarrier(barrier)),
            Err(BarrierError::Shm(error)) => Err(raise::shm(error)),
            Err(error) => Err(PyValueError::new_err(error.to_string())),
        }
    }

    /// Waits for the others: this party's number. The last one gets, if there is an action to be run, what `complete` takes
    /// after that.
    #[pyo3(signature = (timeout, has_action))]
    fn wait(&self, py: Python<'_>, timeout: Option<f64>, has_action: bool) -> PyResult<Py<PyAny>> {
        let deadline = lenient_deadline(timeout)?;
        let (barrier, who, scope) = self.0.words();
        let mut arrived = barrier.arrive(scope, who, Deadline::NOW);
        if arrived == Arrived::TimedOut {
            // The generation before is not over: nothing is timed before this party is in.
            arrived = block(py, || match barrier.arrive(scope, who, Deadline::NEVER) {
                Arrived::Interrupted => Slept::Interrupted,
                arrived => Slept::Over(arrived),
            })?;
        }
        let Arrived::Yes(arrival) = arrived else {
            return Err(broken(py));
        };
        if arrival.last && has_action {
            return SharedArrival(arrival).into_py_any(py);
        }
        if arrival.last {
            barrier.complete(scope, arrival).map_err(|_| broken(py))?;
            return arrival.index.into_py_any(py);
        }
        let waited = block(py, || match barrier.sleep(scope, who, &arrival, deadline) {
            BarrierWaited::Interrupted => Slept::Interrupted,
            waited => Slept::Over(waited),
        });
        match waited {
            Ok(BarrierWaited::Passed) => arrival.index.into_py_any(py),
            Ok(_) => Err(broken(py)),
            // A signal handler raised: as if this party had not come.
            Err(error) => {
                barrier.retract(scope, who, arrival);
                Err(error)
            }
        }
    }

    /// Lets all pass, after the action; this party's number.
    fn complete(&self, py: Python<'_>, arrival: &SharedArrival) -> PyResult<u32> {
        let (barrier, _, scope) = self.0.words();
        barrier.complete(scope, arrival.0).map_err(|_| broken(py))?;
        Ok(arrival.0.index)
    }

    /// Breaks it.
    fn abort(&self) {
        self.0.abort();
    }

    /// Makes it whole and empty.
    fn reset(&self) {
        self.0.reset();
    }

    /// How many must come.
    #[getter]
    fn parties(&self) -> u32 {
        self.0.parties()
    }

    /// How many wait now: none in a broken barrier.
    #[getter]
    fn n_waiting(&self) -> u32 {
        self.0.n_waiting()
    }

    /// Whether it is broken.
    #[getter]
    fn broken(&self) -> bool {
        self.0.broken()
    }

    /// Its name as bytes, and the descriptors of its arenas.
    fn _pack<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyBytes>, Bound<'py, PyTuple>)> {
        arena::pack(py, &self.0)
    }

    /// Opens what _pack() packed.
    #[staticmethod]
    fn _unpack(packed: &[u8]) -> PyResult<SharedBarrier> {
        arena::unpack(packed).map(SharedBarrier)
    }
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<SharedBarrier>()
}
