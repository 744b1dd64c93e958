//! From the core's errors to Python's.

use std::io;

use allcores::shm::ShmError;
use pyo3::exceptions::{PyOSError, PyRuntimeError};
use pyo3::prelude::*;

/// Shared memory could not be had: an OSError, with the system's number if there is one.
pub(crate) fn shm(error: ShmError) -> PyErr {
    let errno = match &error {
        ShmError::Os(source) | ShmError::NoSpace { source, .. } => source.raw_os_error(),
        ShmError::Full { .. } => Some(libc::ENOSPC),
        ShmError::TooManyProcesses { .. } => Some(libc::EAGAIN),
        _ => None,
    };
    match errno {
        Some(errno) => PyOSError::new_err((errno, error.to_string())),
        None => PyOSError::new_err(error.to_string()),
    }
}

/// A handle could not be packed, or opened.
pub(crate) fn travel(error: impl std::fmt::Display) -> PyErr {
    PyRuntimeError::new_err(error.to_string())
}

/// The system's answer to an argument that makes no sense.
pub(crate) fn invalid() -> PyErr {
    io::Error::from_raw_os_error(libc::EINVAL).into()
}
