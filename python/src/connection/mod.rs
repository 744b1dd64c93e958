//! Connections: frames of bytes over a descriptor, as `multiprocessing.connection` puts them on the wire.
//!
//! What is here never calls Python code, but for `quick`: pickling is done by the Python files, around these leaf functions.
//! Nothing is read beyond the frame that was asked for, since descriptors are polled, and shared with other processes.

mod feed;
mod incoming;
mod io;
mod outgoing;
mod quick;
mod reducers;
mod sink;
mod wait;
mod wire;

use pyo3::prelude::*;

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<wire::Wire>()?;
    module.add_class::<sink::Sink>()?;
    module.add_class::<feed::Feed>()?;
    module.add_class::<reducers::Reducers>()?;
    module.add_function(wrap_pyfunction!(wait::wait_readable, module)?)?;
    module.add_function(wrap_pyfunction!(quick::quicken_connection, module)?)?;
    module.add_function(wrap_pyfunction!(io::widen, module)?)
}
