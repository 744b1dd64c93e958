//! Memory that processes share, behind ctypes objects.

mod block;
mod guarded;

use pyo3::prelude::*;

pub(crate) use block::Block;

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<block::Block>()?;
    guarded::register(module)
}
