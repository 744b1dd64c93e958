//! Queues between threads: SimpleQueue. The others are Python (`allcores/queue.py`), since a subclass may override any
//! part of them.

use std::collections::VecDeque;
use std::ffi::{CStr, c_int, c_long, c_void};

use allcores::sync::{Deadline, Scope, Semaphore, Waited};
use pyo3::exceptions::{PyOverflowError, PyTypeError, PyValueError};
use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::block::{Slept, block, deadline};
use crate::forks::{Brief, Imported};
use crate::raw::{
    self, Args, Names, Object, Raw, TypeCell, boolean, int, method, none, raise, slowly,
};
use crate::threading::seconds;

const SCOPE: Scope = Scope::PRIVATE;

static SIMPLE_QUEUE: TypeCell = TypeCell::new();
static PUT: Names<3> = Names::new([c"item", c"block", c"timeout"]);
static PUT_NOWAIT: Names<1> = Names::new([c"item"]);
static GET: Names<2> = Names::new([c"block", c"timeout"]);

/// `queue.Empty`, found when the first queue is made: where it is raised, the interpreter may be on its way out.
static EMPTY: Imported = Imported::new("queue", "Empty");

#[cold]
fn empty(py: Python<'_>) -> PyErr {
    let class = EMPTY.get(py);
    class.map_or_else(|error| error, |class| PyErr::from_type(class.clone(), ()))
}

/// A strong reference.
struct Item(*mut PyObject);

// SAFETY: a reference may be kept and given back by any thread that is attached, and all methods are called by such.
unsafe impl Send for Item {}

/// The value of a `queue.SimpleQueue`.
pub(crate) struct SimpleQueue {
    /// Held for moments in which no code of Python's can run: so whatever runs, and be it a finalizer or a signal handler
    /// of the thread that is in here, finds it free.
    items: Brief<VecDeque<Item>>,
    /// One permit an item: who has taken a permit finds an item.
    count: Semaphore,
}

impl SimpleQueue {
    #[inline]
    fn push(&self, item: *mut PyObject) -> *mut PyObject {
        // SAFETY: the caller's reference is alive; this one is the queue's.
        self.items
            .lock()
            .push_back(Item(unsafe { ffi::Py_NewRef(item) }));
        // SAFETY: the semaphore lives as long as the object that the method was called on.
        match unsafe { Semaphore::release(&raw const self.count, SCOPE, 1) } {
            Ok(()) => none(),
            Err(_) => self.too_many(),
        }
    }

    #[cold]
    fn too_many(&self) -> *mut PyObject {
        // One more than is counted: it is nobody's, whichever it is.
        let last = self.items.lock().pop_back();
        if let Some(Item(item)) = last {
            // SAFETY: the queue's reference. Nothing is held here.
            unsafe { ffi::Py_DECREF(item) };
        }
        raise(PyOverflowError::new_err(
            "a SimpleQueue holds at most 2**31 - 1 items",
        ))
    }

    /// An item, if there is one: the queue's reference to it.
    #[inline]
    fn take(&self) -> Option<*mut PyObject> {
        self.count.try_acquire().then(|| self.pop())
    }

    /// The item of a permit that has been taken.
    #[inline]
    fn pop(&self) -> *mut PyObject {
        let item = self.items.lock().pop_front();
        // Without: null, and the interpreter says that a function has failed without an exception.
        item.map_or(std::ptr::null_mut(), |item| item.0)
    }

    fn wait(&self, py: Python<'_>, deadline: Deadline) -> PyResult<*mut PyObject> {
        let taken = block(py, || match self.count.acquire(SCOPE, deadline) {
            Waited::Yes => Slept::Over(true),
            Waited::TimedOut => Slept::Over(false),
            Waited::Interrupted => Slept::Interrupted,
        })?;
        match taken {
            true => Ok(self.pop()),
            false => Err(empty(py)),
        }
    }
}

#[inline]
fn put(this: &Object<SimpleQueue>, args: Args) -> *mut PyObject {
    match args.only() {
        Some(item) => this.value.push(item),
        None => put_named(this, args),
    }
}

#[inline(never)]
fn put_named(this: &Object<SimpleQueue>, args: Args) -> *mut PyObject {
    match args.fit(&PUT) {
        Some([item, ..]) if !item.is_null() => this.value.push(item),
        _ => put_slow(this, args),
    }
}

fn put_slow(this: &Object<SimpleQueue>, args: Args) -> *mut PyObject {
    slowly(|py| {
        let [item, _, _] = args.bind(py, "put", ["item", "block", "timeout"])?;
        let item = item.ok_or_else(|| missing("put"))?;
        Ok(this.value.push(item.as_ptr()))
    })
}

#[inline]
fn put_nowait(this: &Object<SimpleQueue>, args: Args) -> *mut PyObject {
    match args.fit(&PUT_NOWAIT) {
        Some([item]) if !item.is_null() => this.value.push(item),
        _ => slowly(|py| {
            let [item] = args.bind(py, "put_nowait", ["item"])?;
            let item = item.ok_or_else(|| missing("put_nowait"))?;
            Ok(this.value.push(item.as_ptr()))
        }),
    }
}

fn missing(function: &str) -> PyErr {
    PyTypeError::new_err(format!(
        "{function}() missing required argument 'item' (pos 1)"
    ))
}

#[inline]
fn get(this: &Object<SimpleQueue>, args: Args) -> *mut PyObject {
    if args.is_empty()
        && let Some(item) = this.value.take()
    {
        return item;
    }
    get_as_said(this, args)
}

/// What is there is taken before anybody looks at the clock.
#[inline(never)]
fn get_as_said(this: &Object<SimpleQueue>, args: Args) -> *mut PyObject {
    if let Some([block, timeout]) = args.fit(&GET)
        && !args.is_empty()
        && needs_no_look(block, timeout)
        && let Some(item) = this.value.take()
    {
        return item;
    }
    get_slow(this, args)
}

/// Whether these arguments of `get` are in order for certain: then they matter only if there is nothing to be had at once.
#[inline]
fn needs_no_look(block: *mut PyObject, timeout: *mut PyObject) -> bool {
    const ENOUGH: c_long = 1_000_000;
    // SAFETY: arguments of a call that goes on, or null; the numbers are of the very types that they are read as.
    unsafe {
        if block == ffi::Py_False() {
            return true;
        }
        if !block.is_null() && block != ffi::Py_True() {
            return false;
        }
        if timeout.is_null() || timeout == ffi::Py_None() {
            return true;
        }
        let kind = ffi::Py_TYPE(timeout);
        if kind == &raw mut ffi::PyLong_Type {
            let mut overflow = 0;
            let seconds = ffi::PyLong_AsLongAndOverflow(timeout, &raw mut overflow);
            return overflow == 0 && (0..=ENOUGH).contains(&seconds);
        }
        kind == &raw mut ffi::PyFloat_Type
            && (0.0..=ENOUGH as f64).contains(&ffi::PyFloat_AsDouble(timeout))
    }
}

fn get_slow(this: &Object<SimpleQueue>, args: Args) -> *mut PyObject {
    slowly(|py| {
        let [block, timeout] = args.bind(py, "get", ["block", "timeout"])?;
        let block = block.map_or(Ok(true), |block| block.is_truthy())?;
        let timeout = match timeout.filter(|timeout| block && !timeout.is_none()) {
            Some(timeout) => Some(seconds(&timeout)?),
            None => None,
        };
        if timeout.is_some_and(|seconds| seconds < 0.0) {
            return Err(PyValueError::new_err(
                "'timeout' must be a non-negative number",
            ));
        }
        let deadline = deadline(timeout)?;
        match this.value.take() {
            Some(item) => Ok(item),
            None if block => this.value.wait(py, deadline),
            None => Err(empty(py)),
        }
    })
}

#[inline]
fn get_nowait(this: &Object<SimpleQueue>) -> *mut PyObject {
    match this.value.take() {
        Some(item) => item,
        None => slowly(|py| Err(empty(py))),
    }
}

#[inline]
fn is_empty(this: &Object<SimpleQueue>) -> *mut PyObject {
    boolean(this.value.count.value() == 0)
}

#[inline]
fn qsize(this: &Object<SimpleQueue>) -> *mut PyObject {
    int(this.value.count.value().into())
}

impl Raw for SimpleQueue {
    const NAME: &'static CStr = c"allcores.queue.SimpleQueue";
    const DOC: &'static CStr = c"SimpleQueue()\n--\n\n\
        An unbounded queue between threads, first in, first out.\n\n\
        put() never blocks, and may be called where nothing else may be relied on: from __del__, a weak reference's\n\
        callback or a signal handler, also while the same thread is inside put() or get().";
    const SUBCLASS: bool = true;
    const INIT: bool = true;
    const CYCLES: bool = true;

    fn cell() -> &'static TypeCell {
        &SIMPLE_QUEUE
    }

    fn new(args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> PyResult<SimpleQueue> {
        if !args.is_empty() || kwargs.is_some_and(|kwargs| !kwargs.is_empty()) {
            return Err(PyTypeError::new_err("SimpleQueue() takes no arguments"));
        }
        EMPTY.get(args.py())?;
        Ok(SimpleQueue {
            items: Brief::default(),
            count: Semaphore::new(0, Semaphore::MAX),
        })
    }

    fn methods() -> Vec<ffi::PyMethodDef> {
        const PUT: &str = "put($self, /, item, block=True, timeout=None)\n--\n\n\
            Put an item into the queue.\n\n\
            block and timeout are there for the likeness to Queue.put: this never blocks.";
        const PUT_NOWAIT: &str = "put_nowait($self, /, item)\n--\n\nPut an item into the queue.";
        const GET: &str = "get($self, /, block=True, timeout=None)\n--\n\n\
            Remove and return an item, waiting for one if block is true.\n\n\
            After timeout seconds (None: never), or at once if block is false, raise Empty. Raises ValueError for a\n\
            negative timeout.";
        const GET_NOWAIT: &str = "get_nowait($self, /)\n--\n\n\
            Remove and return an item if there is one at once, else raise Empty.";
        const EMPTY: &str = "empty($self, /)\n--\n\n\
            Return whether there is no item; it may have changed by the time it is used.";
        const QSIZE: &str = "qsize($self, /)\n--\n\n\
            Return how many items are there; it may be another number by the time it is used.";
        vec![
            method!(SimpleQueue, "put", many, put, PUT),
            method!(SimpleQueue, "put_nowait", many, put_nowait, PUT_NOWAIT),
            method!(SimpleQueue, "get", many, get, GET),
            method!(SimpleQueue, "get_nowait", noargs, get_nowait, GET_NOWAIT),
            method!(SimpleQueue, "empty", noargs, is_empty, EMPTY),
            method!(SimpleQueue, "qsize", noargs, qsize, QSIZE),
            raw::entry(
                "__class_getitem__",
                ffi::Py_GenericAlias as *mut c_void,
                ffi::METH_O | ffi::METH_CLASS,
                "See PEP 585",
            ),
        ]
    }

    fn visit(&self, visit: &mut dyn FnMut(*mut PyObject) -> c_int) -> c_int {
        // Nobody can hold it here: nobody who does can be stopped for a collection. If it were so, the items would only be
        // taken for used.
        if let Some(items) = self.items.try_lock() {
            for item in items.iter() {
                match visit(item.0) {
                    0 => {}
                    stop => return stop,
                }
            }
        }
        0
    }

    fn clear(&self) {
        // One by one, with nothing held: what a finalizer does may put into this very queue.
        while let Some(item) = self.take() {
            // SAFETY: the queue's reference.
            unsafe { raw::calls::Py_DecRef(item) };
        }
    }
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    PUT.know(module.py())?;
    PUT_NOWAIT.know(module.py())?;
    GET.know(module.py())?;
    raw::create::<SimpleQueue>(module)
}
