//! What the core reports, as Python's exceptions.

use allcores::multiprocessing::queue::{GetError, PutError};
use pyo3::exceptions::{PyEOFError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyType;

use crate::shared::raise;

pub(super) fn of_put(error: PutError) -> PyErr {
    match error {
        PutError::Closed => shut_down(),
        PutError::TooLong { .. } => PyValueError::new_err(error.to_string()),
        PutError::Shm(error) => raise::shm(error),
        error => PyRuntimeError::new_err(error.to_string()),
    }
}

pub(super) fn of_get(error: GetError) -> PyErr {
    match error {
        GetError::Closed => shut_down(),
        GetError::Disconnected => PyEOFError::new_err(error.to_string()),
        error => PyRuntimeError::new_err(error.to_string()),
    }
}

pub(super) fn unless_full(put: Result<(), PutError>) -> PyResult<bool> {
    match put {
        Ok(()) => Ok(true),
        Err(PutError::Full) => Ok(false),
        Err(error) => Err(of_put(error)),
    }
}

pub(super) fn unless_empty<R>(got: Result<R, GetError>) -> PyResult<Option<R>> {
    match got {
        Ok(got) => Ok(Some(got)),
        Err(GetError::Empty) => Ok(None),
        Err(error) => Err(of_get(error)),
    }
}

/// Somebody has closed the queue for all: `queue.ShutDown`, or what stands for it before 3.13.
fn shut_down() -> PyErr {
    Python::attach(|py| {
        let class = py
            .import("allcores.queue")
            .and_then(|module| module.getattr("ShutDown"))
            .and_then(|class| Ok(class.cast_into::<PyType>()?));
        match class {
            Ok(class) => PyErr::from_type(class, ()),
            Err(error) => error,
        }
    })
}
