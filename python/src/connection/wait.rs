//! Waiting until something can be read.

use pyo3::prelude::*;

use super::io;
use crate::block::{Slept, block, deadline};

/// Waits until one of the descriptors can be read, or is at its end, or broken. Returns the places in the list of those that
/// are: none if `timeout`, in seconds, has passed.
#[pyfunction]
#[pyo3(signature = (descriptors, timeout = None))]
pub(super) fn wait_readable(
    py: Python<'_>,
    descriptors: Vec<i32>,
    timeout: Option<f64>,
) -> PyResult<Vec<usize>> {
    let mut polled: Vec<_> = descriptors.into_iter().map(readable).collect();
    poll(py, &mut polled, timeout)?;
    let ready = polled.iter().enumerate();
    Ok(ready
        .filter(|(_, polled)| polled.revents != 0)
        .map(|(place, _)| place)
        .collect())
}

/// Whether the descriptor can be read, or is at its end, before the timeout has passed.
pub(super) fn one(py: Python<'_>, fd: i32, timeout: Option<f64>) -> PyResult<bool> {
    let mut polled = [readable(fd)];
    poll(py, &mut polled, timeout)?;
    Ok(polled[0].revents != 0)
}

fn readable(fd: i32) -> libc::pollfd {
    libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    }
}

fn poll(py: Python<'_>, polled: &mut [libc::pollfd], timeout: Option<f64>) -> PyResult<()> {
    // Something may be there already: that needs no waiting, and no letting go of the interpreter.
    match attempt(polled, Some(std::time::Duration::ZERO)) {
        Slept::Over(Ok(0)) | Slept::Interrupted => {}
        Slept::Over(outcome) => return outcome.map(drop).map_err(io::os_error),
    }
    let deadline = deadline(timeout)?;
    if deadline.is_now() {
        return py.check_signals();
    }
    let outcome = block(py, || attempt(polled, deadline.remaining()))?;
    outcome.map(drop).map_err(io::os_error)
}

/// One poll. How many are ready, or the number of the error.
fn attempt(
    polled: &mut [libc::pollfd],
    left: Option<std::time::Duration>,
) -> Slept<Result<usize, i32>> {
    let left = left.map(|left| libc::timespec {
        tv_sec: left.as_secs().min(i64::MAX as u64) as i64,
        tv_nsec: i64::from(left.subsec_nanos()),
    });
    let left = left.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: ppoll(2) reads and writes that many pollfds, and reads the time if there is one.
    let ready = unsafe {
        libc::ppoll(
            polled.as_mut_ptr(),
            polled.len() as libc::nfds_t,
            left,
            std::ptr::null(),
        )
    };
    if ready >= 0 {
        return Slept::Over(Ok(ready as usize));
    }
    match std::io::Error::last_os_error().raw_os_error() {
        Some(libc::EINTR) => Slept::Interrupted,
        number => Slept::Over(Err(number.unwrap_or(0))),
    }
}
