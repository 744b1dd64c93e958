//! Which types are pickled in a way of their own.

use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use pyo3::{PyTraverseError, PyVisit};

/// A pickler's `dispatch_table` that looks into two dictionaries, the first one first: a registration that comes later
/// counts at once, without copies of them for each pickler.
#[pyclass(frozen, mapping, module = "allcores._allcores")]
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

    fn __getitem__<'py>(&self, key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = key.py();
        if let Some(found) = self.first.bind(py).get_item(key)? {
            return Ok(found);
        }
        match self.second.bind(py).get_item(key)? {
            Some(found) => Ok(found),
            None => Err(PyKeyError::new_err((key.clone().unbind(),))),
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.first)?;
        visit.call(&self.second)
    }
}
