//! Lock: held by one owner, released by anybody.

use std::ffi::CStr;

use allcores::sync::{self, Acquired, Deadline, Scope};
use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::{ACQUIRE, Inherited, owner_died, wait_until};
use crate::block::{Slept, block};
use crate::raw::{
    self, Args, Object, Raw, TypeCell, boolean, method, none, raise, slowly, special,
    special_method,
};

/// The value of a `threading.Lock`.
#[derive(Default)]
pub(crate) struct Lock(sync::Lock);

/// Its type.
pub(crate) static LOCK: TypeCell = TypeCell::new();

impl Lock {
    /// Takes it if that needs no waiting. `None` if it does, or if there is more to say.
    #[inline]
    pub(crate) fn take(&self) -> bool {
        match self.0.acquire(Scope::PRIVATE, Deadline::NOW) {
            Acquired::Yes => true,
            Acquired::OwnerDied(_) => {
                // Left as if nobody had been here but for the mark, which whoever comes next by the slow way finds.
                self.release();
                false
            }
            _ => false,
        }
    }

    /// Takes it, waiting without the interpreter; whether it is held now.
    ///
    /// # Errors
    /// `OwnerDiedError` if its owner vanished in a fork: then it is held all the same, and recovered. What signal handlers
    /// raise: then it is not.
    pub(crate) fn wait(&self, py: Python<'_>, deadline: Deadline) -> PyResult<Inherited> {
        let mut taken = self.0.acquire(Scope::PRIVATE, Deadline::NOW);
        if matches!(taken, Acquired::TimedOut) && !deadline.is_now() {
            taken = block(py, || match self.0.acquire(Scope::PRIVATE, deadline) {
                Acquired::Interrupted => Slept::Interrupted,
                taken => Slept::Over(taken),
            })?;
        }
        Ok(match taken {
            Acquired::Yes => Inherited::Well,
            Acquired::OwnerDied(_) => {
                self.0.recover();
                Inherited::FromTheDead
            }
            Acquired::TimedOut | Acquired::Interrupted => Inherited::No,
        })
    }

    /// Whether it was held.
    #[inline]
    pub(crate) fn release(&self) -> bool {
        // SAFETY: live: the object that it lies in is held by the caller.
        unsafe { sync::Lock::release(&raw const self.0, Scope::PRIVATE) }.is_ok()
    }

    /// Whether anybody holds it.
    pub(crate) fn is_held(&self) -> bool {
        self.0.is_held()
    }
}

/// What is said of a holder that is no more.
pub(super) const DIED: &str = "the thread that held this lock does not exist in this process: it vanished when the process \
    was forked. The lock is free now; whatever it protects may be half-done";

#[inline]
fn acquire(this: &Object<Lock>, args: Args) -> *mut PyObject {
    if args.is_empty() && this.value.take() {
        return boolean(true);
    }
    acquire_slow(this, args)
}

#[cold]
fn acquire_slow(this: &Object<Lock>, args: Args) -> *mut PyObject {
    slowly(|py| match this.value.wait(py, wait_until(py, args)?)? {
        Inherited::Well => Ok(boolean(true)),
        Inherited::No => Ok(boolean(false)),
        Inherited::FromTheDead => {
            this.value.release();
            Err(owner_died(py, DIED))
        }
    })
}

#[inline]
fn release(this: &Object<Lock>) -> *mut PyObject {
    match this.value.release() {
        true => none(),
        false => not_held(),
    }
}

#[inline]
fn exit(this: &Object<Lock>, _: Args) -> *mut PyObject {
    release(this)
}

#[cold]
fn not_held() -> *mut PyObject {
    raise(PyRuntimeError::new_err("release unlocked lock"))
}

fn locked(this: &Object<Lock>) -> *mut PyObject {
    boolean(this.value.is_held())
}

fn at_fork_reinit(this: &Object<Lock>) -> *mut PyObject {
    this.value.0.reset();
    none()
}

impl Raw for Lock {
    const NAME: &'static CStr = c"threading.Lock";
    const DOC: &'static CStr = c"Lock()\n--\n\n\
        A lock: one holder at a time, and whoever likes releases it.\n\n\
        If its holder vanished in a fork, acquire() raises OwnerDiedError once, without holding it.";

    fn cell() -> &'static TypeCell {
        &LOCK
    }

    fn new(args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> PyResult<Lock> {
        if !args.is_empty() || kwargs.is_some_and(|kwargs| !kwargs.is_empty()) {
            return Err(PyTypeError::new_err("Lock() takes no arguments"));
        }
        Ok(Lock::default())
    }

    fn specials() -> Vec<special::Definition> {
        vec![
            special_method!(
                Lock,
                "__enter__",
                acquire,
                "($self, /)",
                "Acquire the lock."
            ),
            special_method!(
                Lock,
                "__exit__",
                exit,
                "($self, /, *exc_info)",
                "Release the lock."
            ),
        ]
    }

    fn methods() -> Vec<ffi::PyMethodDef> {
        const RELEASE: &str = "release($self, /)\n--\n\n\
            Release the lock; it need not be the thread that acquired it.\n\n\
            RuntimeError if it is not held.";
        const LOCKED: &str = "locked($self, /)\n--\n\nWhether anybody holds the lock.";
        vec![
            method!(Lock, "acquire", many, acquire, ACQUIRE),
            method!(Lock, "release", noargs, release, RELEASE),
            method!(Lock, "locked", noargs, locked, LOCKED),
            method!(
                Lock,
                "acquire_lock",
                many,
                acquire,
                "acquire_lock($self, /, blocking=True, timeout=-1)\n--\n\nAn obsolete synonym of acquire()."
            ),
            method!(
                Lock,
                "release_lock",
                noargs,
                release,
                "release_lock($self, /)\n--\n\nAn obsolete synonym of release()."
            ),
            method!(
                Lock,
                "locked_lock",
                noargs,
                locked,
                "locked_lock($self, /)\n--\n\nAn obsolete synonym of locked()."
            ),
            method!(
                Lock,
                "_at_fork_reinit",
                noargs,
                at_fork_reinit,
                "_at_fork_reinit($self, /)\n--\n\nMake it a new, free lock: for a forked child, which has one thread."
            ),
        ]
    }

    fn repr(this: &Object<Lock>, py: Python<'_>) -> PyResult<String> {
        let state = match this.value.is_held() {
            true => "locked",
            false => "unlocked",
        };
        Ok(format!(
            "<{state} {} {}>",
            this.type_name(py)?,
            this.place()
        ))
    }
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    raw::create::<Lock>(module)
}
