//! The primitives in private memory.
//!
//! Written against the C API itself, see `raw.rs`. What Python code can be called back, or be overridden in part, is
//! a Python class over these: `allcores/threading.py`.

mod barrier;
mod condition;
mod event;
mod lock;
mod rlock;
mod semaphore;

use allcores::sync::Deadline;
use pyo3::exceptions::{PyOverflowError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyFloat, PyInt};

use crate::block::deadline;
use crate::raw::Args;

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    lock::register(module)?;
    rlock::register(module)?;
    semaphore::register(module)?;
    event::register(module)?;
    condition::register(module)?;
    barrier::register(module)
}

/// How an attempt to take a lock ended.
pub(crate) enum Inherited {
    /// It is not held.
    No,
    /// It is held.
    Well,
    /// It is held, and it was a thread's that is no more.
    FromTheDead,
}

/// `allcores.OwnerDiedError`.
#[cold]
pub(crate) fn owner_died(py: Python<'_>, text: &str) -> PyErr {
    let raised = py
        .import("allcores._errors")
        .and_then(|errors| errors.getattr("OwnerDiedError"))
        .and_then(|class| class.call1((text,)));
    raised.map_or_else(|error| error, PyErr::from_value)
}

/// Repeats what a signal handler's exception may end, until it has ended well; and the first of those exceptions.
pub(crate) fn persist<T>(
    py: Python<'_>,
    mut wait: impl FnMut() -> PyResult<T>,
) -> (T, Option<PyErr>) {
    let mut first = None;
    loop {
        match wait() {
            Ok(value) => return (value, first),
            Err(error) if first.is_none() => first = Some(error),
            // As the interpreter itself does with what nobody can be told.
            Err(error) => error.write_unraisable(py, None),
        }
    }
}

/// The docstring of `acquire` of Lock and RLock.
const ACQUIRE: &str = "acquire($self, /, blocking=True, timeout=-1)\n--\n\n\
    Acquire the lock, waiting until it is free.\n\n\
    With blocking=False do not wait, with a timeout (in seconds) not longer than that: returns whether the lock was\n\
    acquired. OwnerDiedError if the thread that held it is no more: then the lock is free, and not acquired.";

/// The deadline that the arguments of Lock.acquire and RLock.acquire say: `blocking=True, timeout=-1`.
///
/// # Errors
/// What the interpreter's own locks raise.
fn wait_until(py: Python<'_>, args: Args) -> PyResult<Deadline> {
    if args.is_empty() {
        return Ok(Deadline::NEVER);
    }
    let [blocking, timeout] = args.bind(py, "acquire", ["blocking", "timeout"])?;
    let blocking = blocking.map_or(Ok(true), |blocking| blocking.is_truthy())?;
    let timeout = timeout.map_or(Ok(-1.0), |timeout| seconds(&timeout))?;
    if !blocking && timeout != -1.0 {
        return Err(PyValueError::new_err(
            "can't specify a timeout for a non-blocking call",
        ));
    }
    if timeout < 0.0 && timeout != -1.0 {
        return Err(PyValueError::new_err(
            "timeout value must be a non-negative number",
        ));
    }
    match (blocking, timeout) {
        (false, _) => Ok(Deadline::NOW),
        (true, -1.0) => Ok(Deadline::NEVER),
        (true, seconds) => deadline(Some(seconds)),
    }
}

/// The deadline of a `timeout=None` of the other primitives: what is negative has passed.
///
/// # Errors
/// As [`wait_until`]; but no number is too small.
pub(crate) fn timeout_of(timeout: Option<Borrowed<'_, '_, PyAny>>) -> PyResult<Deadline> {
    match timeout.filter(|timeout| !timeout.is_none()) {
        None => Ok(Deadline::NEVER),
        Some(timeout) => deadline(Some(seconds(&timeout)?)),
    }
}

/// A number of seconds: a float, or what counts as an int.
///
/// # Errors
/// TypeError for anything else, OverflowError for an int beyond all floats, ValueError for NaN.
pub(crate) fn seconds(timeout: &Bound<'_, PyAny>) -> PyResult<f64> {
    let seconds = match timeout.cast::<PyFloat>() {
        Ok(float) => float.value(),
        Err(_) if timeout.is_exact_instance_of::<PyInt>() => timeout
            .extract::<f64>()
            .map_err(|_| PyOverflowError::new_err("timeout value is too large"))?,
        Err(_) => {
            let whole = timeout.call_method0("__index__").map_err(|_| {
                let kind = timeout
                    .get_type()
                    .name()
                    .map_or_else(|_| "object".to_owned(), |name| name.to_string());
                pyo3::exceptions::PyTypeError::new_err(format!(
                    "'{kind}' object cannot be interpreted as an integer"
                ))
            })?;
            whole
                .extract::<f64>()
                .map_err(|_| PyOverflowError::new_err("timeout value is too large"))?
        }
    };
    if seconds.is_nan() {
        return Err(PyValueError::new_err("Invalid value NaN (not a number)"));
    }
    Ok(seconds)
}
