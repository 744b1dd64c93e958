//! The extension module `allcores._allcores`: Python's types over the primitives of the crate `allcores`.
//!
//! One file a type; `block.rs` is the one way in which any of them waits.

mod block;
mod connection;
mod data;
mod queue;
mod raw;
mod shared;
mod threading;

use pyo3::prelude::*;

/// What the Python files of the package are built on. Use `allcores.threading` and `allcores.multiprocessing`.
#[pymodule(gil_used = false)]
mod _allcores {
    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        super::threading::register(module)?;
        super::queue::register(module)?;
        super::shared::register(module)?;
        super::data::register(module)?;
        super::connection::register(module)
    }
}
