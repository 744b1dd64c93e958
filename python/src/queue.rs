//! Queues between threads: SimpleQueue. The others are Python (`allcores/queue.py`), since a subclass may override any
//! part of them.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use allcores::sync::{Deadline, Scope, Semaphore, Waited};
use pyo3::PyTraverseError;
use pyo3::exceptions::{PyOverflowError, PyValueError};
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

use crate::block::{Slept, block, deadline};

const SCOPE: Scope = Scope::PRIVATE;

/// `queue.Empty`, found when the first queue is made: where it is raised, the interpreter may be on its way out.
static EMPTY: PyOnceLock<Py<PyType>> = PyOnceLock::new();

fn empty_class(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    EMPTY.import(py, "queue", "Empty")
}

/// Any object, for its truth.
struct Truth(bool);

impl FromPyObject<'_, '_> for Truth {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, '_, PyAny>) -> PyResult<Truth> {
        object.is_truthy().map(Truth)
    }
}

/// An unbounded queue between threads, first in, first out.
///
/// `put` never blocks, and may be called where nothing else may be relied on: from `__del__`, a weak reference's callback or
/// a signal handler, also while the same thread is inside `put` or `get`.
#[pyclass(
    frozen,
    subclass,
    weakref,
    module = "allcores.queue",
    name = "SimpleQueue"
)]
pub(crate) struct SimpleQueue {
    /// Held for moments in which no code of Python's can run.
    items: Mutex<VecDeque<Py<PyAny>>>,
    /// One permit an item: who has taken a permit finds an item.
    count: Semaphore,
}

impl SimpleQueue {
    fn items(&self) -> MutexGuard<'_, VecDeque<Py<PyAny>>> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, item: Py<PyAny>) -> PyResult<()> {
        self.items().push_back(item);
        // SAFETY: the semaphore lives as long as this object, which the caller refers to.
        let released = unsafe { Semaphore::release(&raw const self.count, SCOPE, 1) };
        released.map_err(|_| {
            // Ours is not counted: one too many is there, whichever it is.
            drop(self.items().pop_back());
            PyOverflowError::new_err("a SimpleQueue holds at most 2**31 - 1 items")
        })
    }

    /// The item of a permit that has been taken.
    fn pop(&self) -> Py<PyAny> {
        let item = self.items().pop_front();
        item.expect("there is an item for each permit")
    }

    fn pop_now(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        if self.count.try_acquire() {
            return Ok(self.pop());
        }
        Err(PyErr::from_type(empty_class(py)?.clone(), ()))
    }

    #[cold]
    fn wait(&self, py: Python<'_>, deadline: Deadline) -> PyResult<Py<PyAny>> {
        let taken = block(py, || match self.count.acquire(SCOPE, deadline) {
            Waited::Yes => Slept::Over(true),
            Waited::TimedOut => Slept::Over(false),
            Waited::Interrupted => Slept::Interrupted,
        })?;
        if taken {
            return Ok(self.pop());
        }
        Err(PyErr::from_type(empty_class(py)?.clone(), ()))
    }
}

#[pymethods]
impl SimpleQueue {
    #[new]
    fn new(py: Python<'_>) -> PyResult<SimpleQueue> {
        empty_class(py)?;
        Ok(SimpleQueue {
            items: Mutex::default(),
            count: Semaphore::new(0, Semaphore::MAX),
        })
    }

    /// Put an item into the queue.
    ///
    /// `block` and `timeout` are there for the likeness to `Queue.put`: this never blocks.
    #[pyo3(signature = (item, block=None, timeout=None), text_signature = "($self, item, block=True, timeout=None)")]
    fn put(
        &self,
        item: Py<PyAny>,
        block: Option<&Bound<'_, PyAny>>,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let _ = (block, timeout);
        self.push(item)
    }

    /// Put an item into the queue.
    fn put_nowait(&self, item: Py<PyAny>) -> PyResult<()> {
        self.push(item)
    }

    /// Remove and return an item, waiting for one if `block` is true.
    ///
    /// After `timeout` seconds (None: never), or at once if `block` is false, raise Empty. Raises ValueError for a negative
    /// timeout.
    #[pyo3(signature = (block=Truth(true), timeout=None), text_signature = "($self, block=True, timeout=None)")]
    fn get(
        &self,
        py: Python<'_>,
        block: Truth,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        if !block.0 {
            return self.pop_now(py);
        }
        let timeout = timeout
            .map(|timeout| timeout.extract::<f64>())
            .transpose()?;
        if timeout.is_some_and(|seconds| seconds < 0.0) {
            return Err(PyValueError::new_err(
                "'timeout' must be a non-negative number",
            ));
        }
        let deadline = deadline(timeout)?;
        if self.count.try_acquire() {
            return Ok(self.pop());
        }
        self.wait(py, deadline)
    }

    /// Remove and return an item if there is one at once, else raise Empty.
    fn get_nowait(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.pop_now(py)
    }

    /// Return whether there is no item; it may have changed by the time it is used.
    fn empty(&self) -> bool {
        self.count.value() == 0
    }

    /// Return how many items are there; it may be another number by the time it is used.
    fn qsize(&self) -> u32 {
        self.count.value()
    }

    /// See PEP 585.
    #[classmethod]
    fn __class_getitem__<'py>(
        class: &Bound<'py, PyType>,
        item: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let alias = class.py().import("types")?.getattr("GenericAlias")?;
        alias.call1((class, item))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        // Nobody can hold it here: nobody who does can be stopped for a collection. If it were so, the items would only be
        // taken for used.
        if let Ok(items) = self.items.try_lock() {
            for item in items.iter() {
                visit.call(item)?;
            }
        }
        Ok(())
    }

    fn __clear__(&self) {
        while self.count.try_acquire() {}
        let items = std::mem::take(&mut *self.items());
        // What their `__del__` does may put into this queue again.
        drop(items);
    }
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<SimpleQueue>()
}
