//! `_allcores.SharedCondition`: the queue of waiters in a Condition of `allcores.multiprocessing`.
//!
//! With a lock of ours around it, a wait is one call, in which no Python code runs but that of signal handlers. Any other lock
//! is released and taken by Python code between `enlist`, `sleep` and `finish`.

pub(super) mod quick;

use allcores::multiprocessing::Condition;
use allcores::sync::condition::Ticket;
use allcores::sync::{Deadline, Waited};
use pyo3::exceptions::{PyAssertionError, PyMemoryError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use super::semlock::{Core, Notes, semlock_of};
use super::{arena, raise};
use crate::block::{Slept, block, lenient_deadline};
use crate::forks::Brief;

/// The queue of those who wait for a notification.
#[pyclass(frozen, module = "allcores._allcores")]
pub(super) struct SharedCondition(Condition);

/// A place in it.
#[pyclass(frozen, module = "allcores._allcores")]
struct SharedTicket(Brief<Option<Ticket>>);

impl SharedTicket {
    /// The ticket, which nobody has from then on.
    fn take(&self) -> PyResult<Ticket> {
        let ticket = self.0.lock().take();
        ticket.ok_or_else(|| PyValueError::new_err("this place in the queue has been given up"))
    }
}

/// The lock, held by the calling thread.
///
/// # Errors
/// AssertionError, as the standard library has it, if it is not.
fn held<'a>(
    lock: &'a Bound<'_, PyAny>,
    otherwise: &'static str,
) -> PyResult<(&'a Core, &'a Notes)> {
    let (core, notes) =
        semlock_of(lock)?.ok_or_else(|| PyTypeError::new_err("a lock of ours is wanted"))?;
    match core.is_mine(notes) || super::arena::has_left_locks() {
        true => Ok((core, notes)),
        false => Err(PyAssertionError::new_err(otherwise)),
    }
}

impl SharedCondition {
    fn begin(&self) -> PyResult<Ticket> {
        // Others may be of a program in Rust, which looks at whose lock it is.
        self.0.waits_with_any_lock();
        let (condition, scope) = self.0.words();
        let full =
            |error: allcores::sync::condition::NoRoom| PyMemoryError::new_err(error.to_string());
        condition.enlist(scope).map_err(full)
    }

    fn sleep_until(&self, py: Python<'_>, ticket: &Ticket, deadline: Deadline) -> PyResult<()> {
        let (condition, scope) = self.0.words();
        block(py, || match condition.sleep(scope, ticket, deadline) {
            Waited::Interrupted => Slept::Interrupted,
            _ => Slept::Over(()),
        })
    }
}

#[pymethods]
impl SharedCondition {
    #[new]
    fn new() -> PyResult<SharedCondition> {
        Condition::new().map(SharedCondition).map_err(raise::shm)
    }

    /// Releases the lock, waits, and takes the lock again, always; whether there was a notification.
    #[pyo3(signature = (lock, timeout=None))]
    fn wait(
        &self,
        py: Python<'_>,
        lock: &Bound<'_, PyAny>,
        timeout: Option<f64>,
    ) -> PyResult<bool> {
        let (core, notes) = held(lock, "must acquire() condition before using wait()")?;
        let deadline = lenient_deadline(timeout)?;
        let (condition, scope) = self.0.words();
        let ticket = self.begin()?;
        let depth = match core.release_all(notes) {
            Ok(depth) => depth,
            Err(refusal) => {
                condition.abandon(scope, ticket);
                return Err(refusal.into());
            }
        };
        let slept = self.sleep_until(py, &ticket, deadline);
        let restored = core.restore(py, notes, depth);
        match slept {
            Ok(()) => {
                let notified = condition.finish(scope, ticket);
                restored.map(|()| notified)
            }
            // A handler raised: whoever is next has the notification, if there was one.
            Err(error) => {
                condition.abandon(scope, ticket);
                Err(error)
            }
        }
    }

    /// Notifies `n` that wait; the lock is held by the calling thread.
    fn notify(&self, lock: &Bound<'_, PyAny>, n: i64) -> PyResult<()> {
        held(lock, "lock is not owned")?;
        self.wake(n);
        Ok(())
    }

    /// Notifies `n` that wait.
    fn wake(&self, n: i64) {
        let (condition, scope) = self.0.words();
        condition.notify(scope, n.clamp(0, i64::from(u32::MAX)) as u32);
    }

    /// How many wait.
    fn waiting(&self) -> u32 {
        self.0.words().0.waiting()
    }

    /// A place in the queue, while the lock is held.
    fn enlist(&self) -> PyResult<SharedTicket> {
        Ok(SharedTicket(Brief::new(Some(self.begin()?))))
    }

    /// Sleeps until notified, while the lock is not held.
    #[pyo3(signature = (ticket, timeout=None))]
    fn sleep(&self, py: Python<'_>, ticket: &SharedTicket, timeout: Option<f64>) -> PyResult<()> {
        let deadline = lenient_deadline(timeout)?;
        let mine = ticket.take()?;
        let slept = self.sleep_until(py, &mine, deadline);
        *ticket.0.lock() = Some(mine);
        slept
    }

    /// Gives up the place while the lock is held again; whether there was a notification.
    fn finish(&self, ticket: &SharedTicket) -> PyResult<bool> {
        let (condition, scope) = self.0.words();
        Ok(condition.finish(scope, ticket.take()?))
    }

    /// Gives up the place for a wait that failed: a notification goes to whoever is next.
    fn abandon(&self, ticket: &SharedTicket) -> PyResult<()> {
        let (condition, scope) = self.0.words();
        condition.abandon(scope, ticket.take()?);
        Ok(())
    }

    /// Its name as bytes, and the descriptors of its arenas.
    fn _pack<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyBytes>, Bound<'py, PyTuple>)> {
        arena::pack(py, &self.0)
    }

    /// Opens what _pack() packed.
    #[staticmethod]
    fn _unpack(packed: &[u8]) -> PyResult<SharedCondition> {
        arena::unpack(packed).map(SharedCondition)
    }
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    quick::register(module)?;
    module.add_class::<SharedCondition>()
}
