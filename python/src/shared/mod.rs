//! The primitives in the arena, seen by all processes of the family.

mod queue;

use pyo3::prelude::*;

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    queue::register(module)
}
