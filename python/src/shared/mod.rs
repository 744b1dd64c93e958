//! The primitives in the arena, seen by all processes of the family.

pub(crate) mod arena;
mod barrier;
mod condition;
pub(crate) mod died;
mod event;
mod queue;
pub(crate) mod raise;
pub(crate) mod semlock;

use pyo3::prelude::*;

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(arena::arena_descriptor, module)?)?;
    module.add_function(wrap_pyfunction!(arena::meet_arena, module)?)?;
    module.add_function(wrap_pyfunction!(arena::before_fork, module)?)?;
    module.add_function(wrap_pyfunction!(arena::after_fork_in_parent, module)?)?;
    module.add_function(wrap_pyfunction!(arena::after_fork_in_child, module)?)?;
    module.add_function(wrap_pyfunction!(arena::leave_locks, module)?)?;
    arena::leave_locks_at_exit();
    semlock::register(module)?;
    event::register(module)?;
    condition::register(module)?;
    barrier::register(module)?;
    queue::register(module)
}
