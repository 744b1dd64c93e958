//! How a pickler finds the reducers of its program.

use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use pyo3::{PyTraverseError, PyVisit};

/// Two dicts as one, for `Pickler.dispatch_table`: a reducer that is registered later is found as well, without a copy of
/// both for each message as `ForkingPickler` makes it.
#[pyclass(frozen, module = "allcores._allcores")]
pub(crate) struct Reducers {
    first: Py<PyDict>,
    second: Py<PyDict>,
}

#[pymethods]
impl Reducers {
    #[new]
    fn new(first: Py<PyDict>, second: Py<PyDict>) -> Reducers {
        Reducers { first, second }
    }

    fn __getitem__<'py>(&self, key: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = key.py();
        if let Some(found) = self.first.bind(py).get_item(&key)? {
            return Ok(found);
        }
        let found = self.second.bind(py).get_item(&key)?;
        found.ok_or_else(|| PyKeyError::new_err(key.unbind()))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.first)?;
        visit.call(&self.second)
    }
}
