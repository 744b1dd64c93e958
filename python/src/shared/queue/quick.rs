//! `put` and `get` of Queue: from an object to shared memory and back without a Python frame, or an object between.
//!
//! What is not plain (see `pickled`), or does not go at once, is done by the class's `_put_slowly` and `_get_slowly`.

use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering::Relaxed};

use allcores::multiprocessing::queue::door::Message;
use allcores::sync::Deadline;
use pyo3::exceptions::PyTypeError;
use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::types::PyType;

use super::{SharedQueue, message};
use crate::pickled::{self, Pickle};
use crate::raw::{self, Args, Names, calls, entry, none, slowly};

/// A message up to this length is taken out to the stack.
const SMALL: usize = 2048;

static PUT: Names<3> = Names::new([c"obj", c"block", c"timeout"]);
static GET: Names<2> = Names::new([c"block", c"timeout"]);
/// What an attribute of the queue is called that is its core as long as it is open.
static OPEN: Names<1> = Names::new([c"_open"]);

/// The core, a new reference, if the queue is open; else null. May run code, of a subclass.
#[inline]
fn open(this: *mut PyObject) -> *mut PyObject {
    // SAFETY: attached, as every method is; a live object and a name that lasts.
    unsafe {
        let core = calls::PyObject_GetAttr(this, OPEN.object(0));
        if core.is_null() {
            ffi::PyErr_Clear();
        } else if ffi::Py_TYPE(core) != SHARED_QUEUE.load(Relaxed) {
            calls::Py_DecRef(core);
            return null_mut();
        }
        core
    }
}

/// # Safety
/// It is what `open` gave, and the reference is kept as long as `'a`.
unsafe fn shared<'a>(core: *mut PyObject) -> &'a SharedQueue {
    // SAFETY: attached; of that type, as `open` has seen, and only ever handed out as shared.
    unsafe {
        let py = Python::assume_attached();
        let core = Borrowed::from_ptr(py, core);
        &*std::ptr::from_ref(core.cast_unchecked::<SharedQueue>().get())
    }
}

/// The type of cores, for ever.
static SHARED_QUEUE: AtomicPtr<ffi::PyTypeObject> = AtomicPtr::new(null_mut());

/// `given`, or what stands for it where nothing is.
fn or(given: *mut PyObject, standard: *mut PyObject) -> *mut PyObject {
    if given.is_null() { standard } else { given }
}

/// Whether these are arguments that nothing can be wrong with, which only matter to one who must wait.
#[inline]
fn sound(block: *mut PyObject, timeout: *mut PyObject) -> bool {
    // SAFETY: live objects or null; the interpreter's own objects and types.
    unsafe {
        (block.is_null() || block == ffi::Py_True() || block == ffi::Py_False())
            && (timeout.is_null()
                || timeout == ffi::Py_None()
                || ffi::Py_TYPE(timeout) == &raw mut ffi::PyFloat_Type
                || ffi::Py_TYPE(timeout) == &raw mut ffi::PyLong_Type)
    }
}

unsafe extern "C-unwind" fn put(
    this: *mut PyObject,
    values: *const *mut PyObject,
    positions: ffi::Py_ssize_t,
    names: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: the interpreter has checked the type of `this`, and holds the arguments.
    let args = unsafe { Args::new(values, positions, names) };
    let mut fitted = args.fit(&PUT).unwrap_or([null_mut(); 3]);
    if fitted[0].is_null() {
        // Borrowed: the caller keeps them.
        let bound = slowly(
            |py| match args.bind(py, "put", ["obj", "block", "timeout"])? {
                [Some(object), block, timeout] => {
                    let [block, timeout] =
                        [block, timeout].map(|it| it.map_or(null_mut(), |it| it.as_ptr()));
                    fitted = [object.as_ptr(), block, timeout];
                    Ok(fitted[0])
                }
                _ => Err(PyTypeError::new_err(
                    "put() missing 1 required positional argument: 'obj'",
                )),
            },
        );
        if bound.is_null() {
            return bound;
        }
    }
    let [object, block, timeout] = fitted;
    if sound(block, timeout) {
        let core = open(this);
        if !core.is_null() {
            let mut pickle = Pickle::new();
            // SAFETY: the reference is given back below.
            let is_put = unsafe { shared(core) }.put_plain(&mut pickle, object);
            // SAFETY: ours.
            unsafe { calls::Py_DecRef(core) };
            if is_put {
                return none();
            }
        }
    }
    // SAFETY: both live for ever.
    let (yes, nothing) = unsafe { (ffi::Py_True(), ffi::Py_None()) };
    calls::method(
        this,
        c"_put_slowly",
        [object, or(block, yes), or(timeout, nothing)],
    )
}

/// What was taken.
enum Taken {
    Small(usize),
    /// A reference, or null with an exception set.
    Object(*mut PyObject),
}

unsafe extern "C-unwind" fn get(
    this: *mut PyObject,
    values: *const *mut PyObject,
    positions: ffi::Py_ssize_t,
    names: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: as above.
    let args = unsafe { Args::new(values, positions, names) };
    let Some(fitted) = args.fit(&GET) else {
        let mut bound = [null_mut(); 2];
        // Borrowed: the caller keeps them.
        let fine = slowly(|py| {
            bound = args
                .bind(py, "get", ["block", "timeout"])?
                .map(|it| it.map_or(null_mut(), |it| it.as_ptr()));
            // SAFETY: lives for ever.
            Ok(unsafe { ffi::Py_None() })
        });
        return if fine.is_null() {
            fine
        } else {
            get_fitted(this, bound)
        };
    };
    get_fitted(this, fitted)
}

fn get_fitted(this: *mut PyObject, [block, timeout]: [*mut PyObject; 2]) -> *mut PyObject {
    let mut place = MaybeUninit::<[u8; SMALL]>::uninit();
    let mut taken = None;
    let core = match sound(block, timeout) {
        true => open(this),
        false => null_mut(),
    };
    if !core.is_null() {
        // SAFETY: the reference is given back below, when nobody waits any more.
        let queue = unsafe { shared(core) };
        // Nothing but a copy: no code of the program's runs under the consumers' lock.
        let now = queue.queue().take_at_once(|bytes| small(bytes, &mut place));
        taken = match now {
            Ok(Some(Message::Short(taken))) => Some(taken),
            Ok(Some(Message::Long(long))) => Some(Taken::Object(slowly(|py| {
                Ok(message::LongMessage::of(py, long)?.into_ptr())
            }))),
            // Waits here if it may wait for ever.
            Ok(None) if block.is_null() && timeout.is_null() => Some(Taken::Object(slowly(|py| {
                let message = queue.wait_and_take(py, Deadline::NEVER)?;
                Ok(message.map_or(null_mut(), Py::into_ptr))
            }))),
            // Said by what comes next.
            Ok(None) | Err(_) => None,
        };
    }
    // SAFETY: our reference, or null.
    unsafe { calls::Py_DecRef(core) };
    match taken {
        Some(Taken::Small(length)) => {
            // SAFETY: so many have been written.
            pickled::load(unsafe { std::slice::from_raw_parts(place.as_ptr().cast(), length) })
        }
        Some(Taken::Object(message)) if message.is_null() => message,
        // SAFETY: attached, and a reference of ours.
        Some(Taken::Object(message)) => unsafe { pickled::load_object(message) },
        None => {
            // SAFETY: both live for ever.
            let (yes, nothing) = unsafe { (ffi::Py_True(), ffi::Py_None()) };
            calls::method(this, c"_get_slowly", [or(block, yes), or(timeout, nothing)])
        }
    }
}

#[inline]
fn small(bytes: &[u8], place: &mut MaybeUninit<[u8; SMALL]>) -> Taken {
    if bytes.len() > SMALL {
        // SAFETY: attached, as the caller is. An allocation of bytes runs no code.
        return Taken::Object(unsafe {
            ffi::PyBytes_FromStringAndSize(bytes.as_ptr().cast(), bytes.len() as ffi::Py_ssize_t)
        });
    }
    // SAFETY: there is room for so many, and bytes of somebody else do not overlap with it.
    unsafe {
        place
            .as_mut_ptr()
            .cast::<u8>()
            .copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
    }
    Taken::Small(bytes.len())
}

/// Gives `class`, one of those that the Python files make, `put` and `get`.
#[pyfunction]
pub(super) fn quicken_queue(class: &Bound<'_, PyType>) -> PyResult<()> {
    const PUT: &str = "put($self, /, obj, block=True, timeout=None)\n--\n\n\
        Put an item: raises what pickling it raises, and queue.Full if there is no room in time.\n\n\
        ValueError after `close`, queue.ShutDown after `shutdown`.";
    const GET: &str = "get($self, /, block=True, timeout=None)\n--\n\n\
        Get the next item: raises queue.Empty if there is none in time, and what unpickling it raises.\n\n\
        ValueError after `close`, queue.ShutDown after `shutdown` once nothing is left.";
    let many = ffi::METH_FASTCALL | ffi::METH_KEYWORDS;
    let table = vec![
        entry("put", put as *mut c_void, many, PUT),
        entry("get", get as *mut c_void, many, GET),
    ];
    raw::add(class, table)
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    PUT.know(py)?;
    GET.know(py)?;
    OPEN.know(py)?;
    let core = py.get_type::<SharedQueue>();
    SHARED_QUEUE.store(core.into_ptr().cast(), Relaxed);
    module.add_function(wrap_pyfunction!(quicken_queue, module)?)
}
