//! The extension module `allcores._allcores`: Python's types over the primitives of the crate `allcores`.
//!
//! One file a type; `block.rs` is the one way in which any of them waits.

#![deny(clippy::disallowed_types)]

mod block;
mod child;
mod connection;
mod data;
mod forks;
mod pickled;
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
        super::only_in_the_main_interpreter()?;
        // Python's handlers run when a wait comes back, never within the signal itself.
        allcores::face::tell_of_signals();
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        super::child::register(module)?;
        super::pickled::register(module)?;
        super::threading::register(module)?;
        super::queue::register(module)?;
        super::shared::register(module)?;
        super::data::register(module)?;
        super::connection::register(module)?;
        super::forks::find_out(module)
    }
}

/// Types and cached objects are kept in statics, so they are one interpreter's: the one that every process has.
fn only_in_the_main_interpreter() -> PyResult<()> {
    // SAFETY: attached, as whoever initialises a module is.
    let id = unsafe { pyo3::ffi::PyInterpreterState_GetID(pyo3::ffi::PyInterpreterState_Get()) };
    if id == 0 {
        return Ok(());
    }
    Err(pyo3::exceptions::PyImportError::new_err(
        "allcores._allcores can only be loaded in the main interpreter",
    ))
}
