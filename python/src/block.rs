//! The one way to block: off the interpreter, until a deadline, and back at once when a signal came.

use std::time::Duration;

use allcores::sync::Deadline;
use pyo3::exceptions::{PyOverflowError, PyValueError};
use pyo3::prelude::*;

/// How one sleep ended.
#[allow(dead_code)]
pub(crate) enum Slept<T> {
    Over(T),
    /// A signal handler ran: Python's handlers want their turn.
    Interrupted,
}

/// Sleeps by `sleep` until it is over, without the interpreter, and runs Python's signal handlers in between: what they
/// raise ends the wait.
///
/// A thread that comes back while the interpreter is being torn down does not come back: `PyEval_RestoreThread` would end it
/// by `pthread_exit` before 3.14, and pyo3 has it hang there, as 3.14 does. So `sleep` must not own anything that others
/// wait for.
#[allow(dead_code)]
pub(crate) fn block<T: Send>(
    py: Python<'_>,
    mut sleep: impl FnMut() -> Slept<T> + Send,
) -> PyResult<T> {
    loop {
        match py.detach(&mut sleep) {
            Slept::Over(value) => return Ok(value),
            Slept::Interrupted => py.check_signals()?,
        }
    }
}

/// `threading.TIMEOUT_MAX` in seconds: what CPython can count in nanoseconds.
#[allow(dead_code)]
const TIMEOUT_MAX: f64 = (i64::MAX / 1000) as f64 / 1e6;

/// The deadline of a timeout in seconds; `None` never comes, and what is negative has passed.
///
/// # Errors
/// OverflowError beyond what the interpreter's own functions take, ValueError for what is no number.
#[allow(dead_code)]
pub(crate) fn deadline(timeout: Option<f64>) -> PyResult<Deadline> {
    match timeout {
        None => Ok(Deadline::NEVER),
        Some(seconds) if seconds.is_nan() => {
            Err(PyValueError::new_err("Invalid value NaN (not a number)"))
        }
        Some(seconds) if seconds <= 0.0 => Ok(Deadline::NOW),
        Some(seconds) if seconds > TIMEOUT_MAX => {
            Err(PyOverflowError::new_err("timeout value is too large"))
        }
        Some(seconds) => Ok(Deadline::after(Duration::from_secs_f64(seconds))),
    }
}

/// [`deadline`] as multiprocessing takes timeouts: however far away, infinity too.
pub(crate) fn lenient_deadline(timeout: Option<f64>) -> PyResult<Deadline> {
    match timeout {
        Some(seconds) if seconds > TIMEOUT_MAX => Ok(Deadline::NEVER),
        timeout => deadline(timeout),
    }
}
