//! Queues between processes: bytes in, bytes out. What they mean is for the Python files to say, which pickle before they
//! come here and unpickle afterwards: nothing here runs code of the program's.

mod error;
mod message;
mod parts;
mod quick;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use allcores::multiprocessing::queue::door::Message;
use allcores::multiprocessing::queue::{Pollable, Stopped};
use allcores::multiprocessing::{JoinableQueue, Queue};
use allcores::sync::Deadline;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use super::{arena, raise};
use crate::block::{Slept, block, deadline};
use crate::forks::Filled;
use crate::pickled::{HEADER, Pickle};
use parts::Parts;

/// A message up to this length is copied without letting go of the interpreter, which takes longer.
const AT_ONCE: usize = 64 << 10;

enum Shared {
    Plain(Queue<()>),
    Joinable(JoinableQueue<()>),
}

/// A queue of bytes in shared memory.
#[pyclass(frozen, module = "allcores._allcores")]
pub(crate) struct SharedQueue {
    shared: Shared,
    /// Made when it is asked for.
    pollable: Filled<Pollable>,
    /// This process will put nothing more: it may be told that nobody will.
    only_gets: AtomicBool,
    has_put: AtomicBool,
}

impl SharedQueue {
    fn of(shared: Shared) -> SharedQueue {
        SharedQueue {
            shared,
            pollable: Filled::default(),
            only_gets: AtomicBool::new(false),
            has_put: AtomicBool::new(false),
        }
    }

    #[inline]
    fn queue(&self) -> &Queue<()> {
        match &self.shared {
            Shared::Plain(queue) => queue,
            Shared::Joinable(queue) => queue,
        }
    }

    /// Puts an object if it is plain, and that needs no waiting.
    #[inline]
    fn put_plain(&self, pickle: &mut Pickle, object: *mut ffi::PyObject) -> bool {
        let Some(written) = pickle.write(object) else {
            return false;
        };
        self.has_put.store(true, Relaxed);
        matches!(self.queue().put_at_once(&[&written[HEADER..]]), Ok(true))
    }

    /// Waits for the next message, without the interpreter.
    fn wait_and_take(&self, py: Python<'_>, deadline: Deadline) -> PyResult<Option<Py<PyAny>>> {
        let heeds_holders = self.only_gets.load(Relaxed);
        let taken = crate::block::block(py, || {
            match self
                .queue()
                .take_or_stop(deadline, heeds_holders, <[u8]>::to_vec)
            {
                Err(Stopped::Interrupted) => Slept::Interrupted,
                Err(Stopped::Failed(error)) => Slept::Over(Err(error)),
                Ok(message) => Slept::Over(Ok(message)),
            }
        })?;
        match error::unless_empty(taken)? {
            None => Ok(None),
            Some(Message::Short(bytes)) => message::to_python(py, &bytes).map(Some),
            Some(Message::Long(long)) => message::LongMessage::of(py, long).map(Some),
        }
    }

    fn counting(&self) -> PyResult<&JoinableQueue<()>> {
        match &self.shared {
            Shared::Plain(_) => Err(PyTypeError::new_err(
                "this queue does not count what is done",
            )),
            Shared::Joinable(queue) => Ok(queue),
        }
    }
}

/// What Python takes for true.
struct Truth(bool);

impl<'a, 'py> FromPyObject<'a, 'py> for Truth {
    type Error = PyErr;

    #[inline]
    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Truth> {
        object.is_truthy().map(Truth)
    }
}

fn until(blocking: bool, timeout: Option<f64>) -> PyResult<Deadline> {
    if blocking {
        deadline(timeout)
    } else {
        Ok(Deadline::NOW)
    }
}

#[pymethods]
impl SharedQueue {
    /// A queue for `maxsize` messages, or any number.
    #[new]
    #[pyo3(signature = (maxsize, joinable))]
    fn new(maxsize: Option<u32>, joinable: bool) -> PyResult<SharedQueue> {
        let made = match (maxsize.map(|most| most as usize), joinable) {
            (Some(0), _) => return Err(PyValueError::new_err("a queue with room for nothing")),
            (None, false) => Queue::new().map(Shared::Plain),
            (Some(most), false) => Queue::bounded(most).map(Shared::Plain),
            (None, true) => JoinableQueue::new().map(Shared::Joinable),
            (Some(most), true) => JoinableQueue::bounded(most).map(Shared::Joinable),
        };
        made.map(SharedQueue::of).map_err(raise::shm)
    }

    /// Puts what the parts contain as one message; whether there was room.
    #[pyo3(signature = (parts, block = Truth(true), timeout = None))]
    fn put(
        &self,
        py: Python<'_>,
        parts: &Bound<'_, PyAny>,
        block: Truth,
        timeout: Option<f64>,
    ) -> PyResult<bool> {
        self.has_put.store(true, Relaxed);
        let parts = Parts::of(parts)?;
        parts.with(|parts| {
            let short = parts.iter().map(|part| part.len()).sum::<usize>() <= AT_ONCE;
            if short && self.queue().put_at_once(parts).map_err(error::of_put)? {
                return Ok(true);
            }
            let deadline = until(block.0, timeout)?;
            if deadline.is_now() && self.queue().is_full() && !self.queue().is_closed() {
                return Ok(false);
            }
            let put = crate::block::block(py, || {
                match self.queue().put_parts_or_stop(parts, deadline) {
                    Err(Stopped::Interrupted) => Slept::Interrupted,
                    Err(Stopped::Failed(error)) => Slept::Over(Err(error)),
                    Ok(()) => Slept::Over(Ok(())),
                }
            })?;
            error::unless_full(put)
        })
    }

    /// Gets the next message, as bytes or as something that holds bytes; None if there is none in time.
    #[pyo3(signature = (block = Truth(true), timeout = None))]
    fn get(
        &self,
        py: Python<'_>,
        block: Truth,
        timeout: Option<f64>,
    ) -> PyResult<Option<Py<PyAny>>> {
        let queue = self.queue();
        // Nothing but an allocation: no code of the program's runs under the consumers' lock.
        let now = queue.take_at_once(|bytes| message::to_python(py, bytes));
        match now.map_err(error::of_get)? {
            Some(Message::Short(bytes)) => return bytes.map(Some),
            Some(Message::Long(long)) => return message::LongMessage::of(py, long).map(Some),
            None => {}
        }
        let deadline = until(block.0, timeout)?;
        if deadline.is_now() && queue.is_empty() {
            return Ok(None);
        }
        self.wait_and_take(py, deadline)
    }

    /// Waits until there is something to get, or nothing ever will be; false if neither in time.
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        let deadline = until(true, timeout)?;
        let heeds_holders = self.only_gets.load(Relaxed);
        if !self.queue().is_empty() {
            return Ok(true);
        }
        let found = block(py, || {
            match self.queue().wait_or_stop(deadline, heeds_holders) {
                Err(Stopped::Interrupted) => Slept::Interrupted,
                Err(Stopped::Failed(error)) => Slept::Over(Err(error)),
                Ok(found) => Slept::Over(Ok(found)),
            }
        })?;
        found.map_err(error::of_get)
    }

    /// A descriptor of this process that is readable while there is something to get.
    fn fileno(&self) -> PyResult<i32> {
        let pollable = match self.pollable.get() {
            Some(pollable) => pollable,
            None => {
                let made = self
                    .queue()
                    .pollable_heeding(self.only_gets.load(Relaxed))?;
                self.pollable.get_or_set(made)
            }
        };
        Ok(pollable.try_fileno()?)
    }

    /// Has this process alone get messages, until `unreserve` or its end; false if another one has done that, and goes on for
    /// too long.
    #[pyo3(signature = (block = Truth(true), timeout = None))]
    fn reserve(&self, py: Python<'_>, block: Truth, timeout: Option<f64>) -> PyResult<bool> {
        let deadline = until(block.0, timeout)?;
        let reserved = crate::block::block(py, || match self.queue().reserve_or_stop(deadline) {
            Err(Stopped::Interrupted) => Slept::Interrupted,
            Err(Stopped::Failed(error)) => Slept::Over(Err(error)),
            Ok(reserved) => Slept::Over(Ok(reserved)),
        })?;
        reserved.map_err(error::of_get)
    }

    /// Ends that, whoever has begun it; whether somebody had.
    fn unreserve(&self) -> bool {
        self.queue().unreserve()
    }

    /// Whether some process alone gets messages.
    fn is_reserved(&self) -> bool {
        self.queue().is_reserved()
    }

    /// How many messages there are.
    fn qsize(&self) -> usize {
        self.queue().qsize()
    }

    /// Whether there are none.
    fn empty(&self) -> bool {
        // A look that lowers the descriptor, unlike `is_empty`.
        !matches!(self.queue().wait_or_stop(Deadline::NOW, false), Ok(true))
    }

    /// This process puts nothing more: once every other process is gone, `get` ends with EOFError.
    fn put_no_more(&self) {
        self.only_gets.store(true, Relaxed);
    }

    /// Whether this object has put anything.
    fn has_put(&self) -> bool {
        self.has_put.load(Relaxed)
    }

    /// Whether there is no room for more.
    fn full(&self) -> bool {
        self.queue().is_full()
    }

    /// From now on nobody puts anything.
    fn shutdown(&self, py: Python<'_>) {
        py.detach(|| self.queue().close());
    }

    /// Whether that was said.
    fn is_shutdown(&self) -> bool {
        self.queue().is_closed()
    }

    /// Whether it counts what is done.
    fn joinable(&self) -> bool {
        matches!(self.shared, Shared::Joinable(_))
    }

    /// One message is done.
    fn task_done(&self) -> PyResult<()> {
        let done = self.counting()?.task_done();
        done.map_err(|_| PyValueError::new_err("task_done() called too many times"))
    }

    /// How many are not.
    fn unfinished_tasks(&self) -> PyResult<usize> {
        self.counting().map(JoinableQueue::unfinished_tasks)
    }

    /// Waits until all are done: None, or how many never will be.
    fn join(&self, py: Python<'_>) -> PyResult<Option<u64>> {
        let queue = self.counting()?;
        if queue.unfinished_tasks() == 0 {
            return Ok(None);
        }
        block(py, || match queue.join_or_stop(Deadline::NEVER) {
            Err(Stopped::Interrupted) => Slept::Interrupted,
            Err(Stopped::Failed(lost)) => Slept::Over(Some(lost.count)),
            Ok(_) => Slept::Over(None),
        })
    }

    /// Counts what is lost as done; how many that were.
    fn forget_lost(&self) -> PyResult<usize> {
        self.counting().map(JoinableQueue::forget_lost)
    }

    /// The handle as bytes, and the descriptors of its arenas.
    fn _pack<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyBytes>, Bound<'py, PyTuple>)> {
        match &self.shared {
            Shared::Plain(queue) => arena::pack(py, queue),
            Shared::Joinable(queue) => arena::pack(py, queue),
        }
    }

    /// Opens what `_pack` packed.
    #[staticmethod]
    fn _unpack(packed: &[u8], joinable: bool) -> PyResult<SharedQueue> {
        let shared = if joinable {
            Shared::Joinable(arena::unpack(packed)?)
        } else {
            Shared::Plain(arena::unpack(packed)?)
        };
        Ok(SharedQueue::of(shared))
    }
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    quick::register(module)?;
    module.add_class::<SharedQueue>()?;
    module.add_class::<message::LongMessage>()
}
