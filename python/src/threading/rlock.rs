//! RLock: held by one thread, any number of times over.

use std::ffi::CStr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use allcores::sync::{self, Acquired, Deadline, Scope};
use pyo3::exceptions::{PyDeprecationWarning, PyRuntimeError};
use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::{ACQUIRE, Inherited, owner_died, wait_until};
use crate::block::{Slept, block};
use crate::raw::{
    self, Args, Object, Raw, TypeCell, boolean, int, method, none, raise, slowly, special,
    special_method,
};

/// The value of a `threading.RLock`.
#[derive(Default)]
pub(crate) struct RLock {
    words: sync::RLock,
    /// What Python calls the thread that took it last; for repr().
    ident: AtomicUsize,
}

/// Its type.
pub(crate) static RLOCK: TypeCell = TypeCell::new();

/// What Python calls this thread: `threading.get_ident()`.
#[inline]
fn get_ident() -> usize {
    // SAFETY: asks for nothing and cannot fail. It is what CPython's get_ident() returns on Linux.
    unsafe { libc::pthread_self() as usize }
}

impl RLock {
    /// Takes it if that needs no waiting.
    #[inline]
    pub(crate) fn take(&self) -> bool {
        match self.words.acquire(Scope::PRIVATE, Deadline::NOW) {
            Acquired::Yes => {
                self.ident.store(get_ident(), Relaxed);
                true
            }
            Acquired::OwnerDied(_) => {
                // As in Lock: the mark stays.
                self.release();
                false
            }
            _ => false,
        }
    }

    /// Takes it, waiting without the interpreter; as `Lock::wait`.
    pub(crate) fn wait(&self, py: Python<'_>, deadline: Deadline) -> PyResult<Inherited> {
        let mut taken = self.words.acquire(Scope::PRIVATE, Deadline::NOW);
        if matches!(taken, Acquired::TimedOut) && !deadline.is_now() {
            taken = block(py, || match self.words.acquire(Scope::PRIVATE, deadline) {
                Acquired::Interrupted => Slept::Interrupted,
                taken => Slept::Over(taken),
            })?;
        }
        Ok(match taken {
            Acquired::TimedOut | Acquired::Interrupted => Inherited::No,
            Acquired::Yes => {
                self.ident.store(get_ident(), Relaxed);
                Inherited::Well
            }
            Acquired::OwnerDied(_) => {
                self.words.lock().recover();
                self.ident.store(get_ident(), Relaxed);
                Inherited::FromTheDead
            }
        })
    }

    /// Whether it was this thread's.
    #[inline]
    pub(crate) fn release(&self) -> bool {
        // SAFETY: live: the object that it lies in is held by the caller.
        unsafe { sync::RLock::release(&raw const self.words, Scope::PRIVATE) }.is_ok()
    }

    /// Frees it however often this thread holds it, and says how often; `None` if it does not hold it.
    pub(crate) fn release_all(&self) -> Option<u32> {
        // SAFETY: as in `release`.
        unsafe { sync::RLock::release_all(&raw const self.words, Scope::PRIVATE) }.ok()
    }

    /// How often it counts as held by this thread, which holds it.
    pub(crate) fn restore(&self, depth: u32) {
        self.words.restore_depth(Scope::PRIVATE, depth);
    }

    /// Whether this thread holds it.
    #[inline]
    pub(crate) fn is_mine(&self) -> bool {
        self.words.is_mine(Scope::PRIVATE)
    }

    /// Whether anybody holds it.
    pub(crate) fn is_held(&self) -> bool {
        self.words.lock().is_held()
    }
}

/// What is said of a holder that is no more.
pub(super) const DIED: &str = "the thread that held this RLock is no more: it ended without releasing it, or vanished when \
    the process was forked. The lock is free now; whatever it protects may be half-done";

#[inline]
fn acquire(this: &Object<RLock>, args: Args) -> *mut PyObject {
    if args.is_empty() && this.value.take() {
        return boolean(true);
    }
    acquire_slow(this, args)
}

#[cold]
fn acquire_slow(this: &Object<RLock>, args: Args) -> *mut PyObject {
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
fn release(this: &Object<RLock>) -> *mut PyObject {
    match this.value.release() {
        true => none(),
        false => not_mine(),
    }
}

#[inline]
fn exit(this: &Object<RLock>, _: Args) -> *mut PyObject {
    release(this)
}

#[cold]
fn not_mine() -> *mut PyObject {
    raise(PyRuntimeError::new_err("cannot release un-acquired lock"))
}

fn locked(this: &Object<RLock>) -> *mut PyObject {
    boolean(this.value.is_held())
}

fn is_owned(this: &Object<RLock>) -> *mut PyObject {
    boolean(this.value.is_mine())
}

fn recursion_count(this: &Object<RLock>) -> *mut PyObject {
    int(this.value.words.depth(Scope::PRIVATE).into())
}

fn release_save(this: &Object<RLock>) -> *mut PyObject {
    let Some(depth) = this.value.release_all() else {
        return not_mine();
    };
    slowly(|py| Ok((depth, get_ident()).into_pyobject(py)?.into_ptr()))
}

fn acquire_restore(this: &Object<RLock>, state: *mut PyObject) -> *mut PyObject {
    slowly(|py| {
        // SAFETY: an argument of this call.
        let state = unsafe { Borrowed::from_ptr(py, state) };
        let (depth, _) = state.extract::<(u32, Bound<'_, PyAny>)>()?;
        // Held in the end, whatever happens meanwhile: what a signal handler raises is raised after that.
        let (inherited, raised) = super::persist(py, || this.value.wait(py, Deadline::NEVER));
        this.value.restore(depth);
        match (raised, inherited) {
            (Some(error), _) => Err(error),
            (None, Inherited::FromTheDead) => Err(owner_died(py, DIED)),
            (None, _) => Ok(none()),
        }
    })
}

fn at_fork_reinit(this: &Object<RLock>) -> *mut PyObject {
    this.value.words.reset();
    none()
}

impl Raw for RLock {
    const NAME: &'static CStr = c"threading.RLock";
    const DOC: &'static CStr = c"RLock()\n--\n\n\
        A lock that its holder may take again; it is free once it has been released as often.\n\n\
        If the thread that held it is no more, acquire() raises OwnerDiedError once, without holding it.";
    const SUBCLASS: bool = true;

    fn cell() -> &'static TypeCell {
        &RLOCK
    }

    // Arguments are ignored, as the interpreter's own does: they are a subclass's.
    fn new(_: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>) -> PyResult<RLock> {
        Ok(RLock::default())
    }

    fn deprecated(args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> PyResult<()> {
        let py = args.py();
        let any = !args.is_empty() || kwargs.is_some_and(|kwargs| !kwargs.is_empty());
        // As the interpreter's does, from the version on in which that does.
        if any && py.version_info() >= (3, 13) {
            let text = c"Passing arguments to RLock is deprecated and will be removed in 3.15";
            PyErr::warn(py, &py.get_type::<PyDeprecationWarning>(), text, 1)?;
        }
        Ok(())
    }

    fn specials() -> Vec<special::Definition> {
        vec![
            special_method!(
                RLock,
                "__enter__",
                acquire,
                "($self, /)",
                "Acquire the lock."
            ),
            special_method!(
                RLock,
                "__exit__",
                exit,
                "($self, /, *exc_info)",
                "Release the lock."
            ),
        ]
    }

    fn methods() -> Vec<ffi::PyMethodDef> {
        const RELEASE: &str = "release($self, /)\n--\n\n\
            Take back one acquisition; the last one frees the lock.\n\n\
            RuntimeError if the calling thread does not hold it.";
        vec![
            method!(RLock, "acquire", many, acquire, ACQUIRE),
            method!(RLock, "release", noargs, release, RELEASE),
            method!(
                RLock,
                "locked",
                noargs,
                locked,
                "locked($self, /)\n--\n\nWhether any thread holds the lock."
            ),
            method!(
                RLock,
                "_is_owned",
                noargs,
                is_owned,
                "_is_owned($self, /)\n--\n\nWhether the calling thread holds it."
            ),
            method!(
                RLock,
                "_recursion_count",
                noargs,
                recursion_count,
                "_recursion_count($self, /)\n--\n\nHow often the calling thread holds it."
            ),
            method!(
                RLock,
                "_release_save",
                noargs,
                release_save,
                "_release_save($self, /)\n--\n\nFree it, however often it is held; what _acquire_restore() takes."
            ),
            method!(
                RLock,
                "_acquire_restore",
                one,
                acquire_restore,
                "_acquire_restore($self, state, /)\n--\n\nHold it again as before _release_save()."
            ),
            method!(
                RLock,
                "_at_fork_reinit",
                noargs,
                at_fork_reinit,
                "_at_fork_reinit($self, /)\n--\n\nMake it a new, free lock: for a forked child, which has one thread."
            ),
        ]
    }

    fn repr(this: &Object<RLock>, py: Python<'_>) -> PyResult<String> {
        let RLock { words, ident } = &this.value;
        let (state, owner) = match this.value.is_held() {
            true => ("locked", ident.load(Relaxed)),
            false => ("unlocked", 0),
        };
        Ok(format!(
            "<{state} {} object owner={owner} count={} at {:p}>",
            this.type_name(py)?,
            words.depth_of_holder(),
            this.as_ptr()
        ))
    }
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    raw::create::<RLock>(module)
}
