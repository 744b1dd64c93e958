//! What Condition does with a lock of ours around it, without a Python frame. With any other lock it is done by the class's methods
//! whose names end in `_slowly`.

use std::ffi::{CStr, c_int};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering::Relaxed};

use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::super::semlock::{self, SemLock};
use super::SharedCondition;
use crate::raw::{
    self, Args, Object, Raw, TypeCell, calls, method, none, slowly, special, special_method,
};

/// The value of a `QuickCondition`: references, or null before `_bind`.
pub(in crate::shared) struct QuickCondition {
    lock: AtomicPtr<PyObject>,
    waiters: AtomicPtr<PyObject>,
    /// The lock is one of ours, and of no subclass.
    plain: AtomicBool,
}

pub(in crate::shared) static QUICK_CONDITION: TypeCell = TypeCell::new();

type This = Object<QuickCondition>;

/// The lock, if it is of our own classes.
#[inline]
fn lock(this: &This) -> Option<&Object<SemLock>> {
    let lock = this.value.lock.load(Relaxed);
    // SAFETY: `_bind` has looked at its class, and holds it.
    (this.value.plain.load(Relaxed)).then(|| unsafe { Object::<SemLock>::of(lock) })
}

/// The same, with those who wait; not to be used once `clear` may have run.
fn both<'a, 'py>(
    this: &'a This,
    py: Python<'py>,
) -> Option<(Borrowed<'a, 'py, PyAny>, Borrowed<'a, 'py, SharedCondition>)> {
    lock(this)?;
    // SAFETY: references that `_bind` took, whose types it has looked at.
    unsafe {
        let lock = Borrowed::from_ptr(py, this.value.lock.load(Relaxed));
        let waiters = Borrowed::from_ptr(py, this.value.waiters.load(Relaxed));
        Some((lock, waiters.cast_unchecked()))
    }
}

#[inline]
fn enter(this: &This, _: Args) -> *mut PyObject {
    match lock(this) {
        Some(lock) => semlock::acquire(lock, Args::NONE),
        None => calls::method(this.as_ptr(), c"_enter_slowly", []),
    }
}

#[inline]
fn exit(this: &This, args: Args) -> *mut PyObject {
    match (lock(this), args.three()) {
        (Some(lock), _) => semlock::release(lock),
        (None, Some(how)) => calls::method(this.as_ptr(), c"_exit_slowly", how),
        (None, None) => calls::method(this.as_ptr(), c"_exit_slowly", []),
    }
}

fn wait(this: &This, args: Args) -> *mut PyObject {
    if lock(this).is_some() {
        return slowly(|py| {
            let [timeout] = args.bind(py, "wait", ["timeout"])?;
            let timeout = timeout.map(|timeout| timeout.extract()).transpose()?;
            let Some((lock, waiters)) = both(this, py) else {
                return Err(PyRuntimeError::new_err(
                    "Condition.__init__() was not called",
                ));
            };
            // Held on their own: a signal handler may run.
            let (lock, waiters) = (lock.to_owned(), waiters.to_owned());
            let notified = waiters.get().wait(py, &lock, timeout.flatten())?;
            Ok(raw::boolean(notified))
        });
    }
    match args.one_of(c"timeout") {
        Some(timeout) => calls::method(this.as_ptr(), c"_wait_slowly", [timeout]),
        None => slowly(|py| args.bind(py, "wait", ["timeout"]).map(|_| none())),
    }
}

fn notify(this: &This, args: Args) -> *mut PyObject {
    if lock(this).is_some() {
        return slowly(|py| {
            let [n] = args.bind(py, "notify", ["n"])?;
            let n = n.map_or(Ok(1), |n| n.extract())?;
            let Some((lock, waiters)) = both(this, py) else {
                return Err(PyRuntimeError::new_err(
                    "Condition.__init__() was not called",
                ));
            };
            waiters.get().notify(&lock, n)?;
            Ok(none())
        });
    }
    if args.is_empty() {
        return calls::method(this.as_ptr(), c"_notify_slowly", []);
    }
    let n = match args.one_of(c"n") {
        Some(n) => n,
        None => return slowly(|py| args.bind(py, "notify", ["n"]).map(|_| none())),
    };
    calls::method(this.as_ptr(), c"_notify_slowly", [n])
}

fn bind(this: &This, args: Args) -> *mut PyObject {
    let mut old = [null_mut(); 2];
    let bound = slowly(|py| {
        let [Some(lock), Some(waiters)] = args.bind(py, "_bind", ["lock", "waiters"])? else {
            return Err(PyTypeError::new_err("_bind() takes a lock and waiters"));
        };
        let waiters = waiters.cast::<SharedCondition>()?;
        let QuickCondition {
            lock: place,
            waiters: waiters_place,
            plain,
        } = &this.value;
        let is_plain = semlock::plain_lock(lock.as_ptr()).is_some();
        plain.store(false, Relaxed);
        old = [
            place.swap(lock.to_owned().into_ptr(), Relaxed),
            waiters_place.swap(waiters.to_owned().into_ptr(), Relaxed),
        ];
        plain.store(is_plain, Relaxed);
        Ok(none())
    });
    for old in old {
        // SAFETY: references that were taken before, or null.
        unsafe { calls::Py_DecRef(old) };
    }
    bound
}

impl Raw for QuickCondition {
    const NAME: &'static CStr = c"allcores._allcores.QuickCondition";
    const DOC: &'static CStr = c"What Condition of processes stands on.";
    const SUBCLASS: bool = true;
    const CYCLES: bool = true;

    fn cell() -> &'static TypeCell {
        &QUICK_CONDITION
    }

    /// Empty: `_bind` fills it.
    fn new(_: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>) -> PyResult<QuickCondition> {
        Ok(QuickCondition {
            lock: AtomicPtr::new(null_mut()),
            waiters: AtomicPtr::new(null_mut()),
            plain: AtomicBool::new(false),
        })
    }

    #[rustfmt::skip]
    fn specials() -> Vec<special::Definition> {
        vec![
            special_method!(QuickCondition, "__enter__", enter, "($self, /)", "Acquire the lock."),
            special_method!(QuickCondition, "__exit__", exit, "($self, /, *exc_info)", "Release the lock."),
        ]
    }

    fn methods() -> Vec<ffi::PyMethodDef> {
        const WAIT: &str = "wait($self, /, timeout=None)\n--\n\n\
            Release the lock, wait for a notification, for `timeout` seconds at most, and acquire the lock again.\n\n\
            Whether there was a notification.";
        const NOTIFY: &str = "notify($self, /, n=1)\n--\n\n\
            Notify the `n` that have waited longest. The lock must be held.";
        const BIND: &str =
            "_bind($self, /, lock, waiters)\n--\n\nHave this lock and these who wait.";
        vec![
            method!(QuickCondition, "wait", many, wait, WAIT),
            method!(QuickCondition, "notify", many, notify, NOTIFY),
            method!(QuickCondition, "_bind", many, bind, BIND),
        ]
    }

    fn visit(&self, visit: &mut dyn FnMut(*mut PyObject) -> c_int) -> c_int {
        match visit(self.lock.load(Relaxed)) {
            0 => visit(self.waiters.load(Relaxed)),
            stop => stop,
        }
    }

    fn clear(&self) {
        self.plain.store(false, Relaxed);
        for place in [&self.lock, &self.waiters] {
            // SAFETY: the references that `_bind` took, or null.
            unsafe { calls::Py_DecRef(place.swap(null_mut(), Relaxed)) };
        }
    }
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    raw::create::<QuickCondition>(module)
}
