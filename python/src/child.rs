//! What a process holds of its children, and they of it: descriptors alone, so that none of it is a Python object that a fork
//! would have to copy the pages of.

use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::{
    AtomicI32, AtomicU64, Ordering::AcqRel, Ordering::Acquire, Ordering::Release,
};

use pyo3::prelude::*;

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    // SAFETY: a plain function of a library that stays loaded; it makes system calls alone.
    unsafe { libc::pthread_atfork(None, None, Some(lifeline_in_child)) };
    module.add_class::<ChildFiles>()?;
    module.add_function(wrap_pyfunction!(lifeline, module)?)?;
    module.add_function(wrap_pyfunction!(reads_from_nowhere, module)?)
}

const NONE: RawFd = -1;

fn close(descriptor: &AtomicI32) {
    let descriptor = descriptor.swap(NONE, AcqRel);
    if descriptor != NONE {
        // SAFETY: it was ours, and is nobody's from now on.
        unsafe { libc::close(descriptor) };
    }
}

fn checked(descriptor: RawFd) -> io::Result<RawFd> {
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(descriptor)
}

/// The descriptors of a child: its sentinel, and the file in which its result will be. Closed when called, or with the object;
/// but never by a copy in a forked child, where the numbers may be those of others.
#[pyclass(frozen, module = "allcores._allcores")]
struct ChildFiles {
    owner: u32,
    sentinel: AtomicI32,
    outcome: AtomicI32,
}

impl ChildFiles {
    fn of(sentinel: RawFd, outcome: RawFd) -> Self {
        Self {
            owner: std::process::id(),
            sentinel: AtomicI32::new(sentinel),
            outcome: AtomicI32::new(outcome),
        }
    }

    fn close(&self) {
        if self.owner == std::process::id() {
            close(&self.sentinel);
            close(&self.outcome);
        }
    }
}

#[pymethods]
impl ChildFiles {
    /// Takes the descriptors.
    #[new]
    fn new(sentinel: RawFd, outcome: RawFd) -> Self {
        Self::of(sentinel, outcome)
    }

    /// For a child that is about to be forked: it has a file for its result.
    #[staticmethod]
    fn ahead() -> PyResult<Self> {
        // SAFETY: a name, and flags.
        let made = unsafe { libc::memfd_create(c"allcores result".as_ptr(), libc::MFD_CLOEXEC) };
        Ok(Self::of(NONE, checked(made)?))
    }

    /// The child has been forked: takes its sentinel.
    fn watch(&self, sentinel: RawFd) {
        self.sentinel.store(sentinel, Release);
    }

    /// The file for its result, as long as nobody has taken that.
    #[getter]
    fn outcome(&self) -> Option<RawFd> {
        Some(self.outcome.load(Acquire)).filter(|&descriptor| descriptor != NONE)
    }

    /// The result has been taken.
    fn forget_outcome(&self) {
        if self.owner == std::process::id() {
            close(&self.outcome);
        }
    }

    /// Closes them, as a finalizer does.
    fn __call__(&self) {
        self.close();
    }
}

impl Drop for ChildFiles {
    fn drop(&mut self) {
        self.close();
    }
}

fn pipe() -> io::Result<(RawFd, RawFd)> {
    let mut ends = [NONE; 2];
    // SAFETY: room for two.
    checked(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) })?;
    Ok((ends[0], ends[1]))
}

/// Both ends of the pipe that tells this process's children of its end, each plus one: 0 if there is none.
static LIFELINE: AtomicU64 = AtomicU64::new(0);

fn ends(lifeline: u64) -> (RawFd, RawFd) {
    (lifeline as u32 as RawFd - 1, (lifeline >> 32) as RawFd - 1)
}

/// The descriptor from which the children of this process learn of its end: the end of the file.
#[pyfunction]
fn lifeline() -> PyResult<RawFd> {
    let known = LIFELINE.load(Acquire);
    if known != 0 {
        return Ok(ends(known).0);
    }
    let (reader, writer) = pipe()?;
    let made = (reader as u64 + 1) | (writer as u64 + 1) << 32;
    if let Err(known) = LIFELINE.compare_exchange(0, made, AcqRel, Acquire) {
        // Another thread was quicker.
        close(&AtomicI32::new(reader));
        close(&AtomicI32::new(writer));
        return Ok(ends(known).0);
    }
    Ok(reader)
}

/// The writing end is the parent's alone. The reading end stays: it is how this process watches its parent, if it wants to.
extern "C" fn lifeline_in_child() {
    let lifeline = LIFELINE.swap(0, AcqRel);
    if lifeline != 0 {
        close(&AtomicI32::new(ends(lifeline).1));
    }
}

/// Whether a descriptor is one of `/dev/null`.
#[pyfunction]
fn reads_from_nowhere(descriptor: RawFd) -> bool {
    // SAFETY: all zeroes is a value of it.
    let mut status: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: room for what is written.
    let told = unsafe { libc::fstat(descriptor, &raw mut status) };
    told == 0
        && status.st_mode & libc::S_IFMT == libc::S_IFCHR
        && status.st_rdev == libc::makedev(1, 3)
}
