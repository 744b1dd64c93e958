//! How Python hears of an owner that died: `allcores.OwnerDiedError`, raised once, while the lock is free again.

use pyo3::prelude::*;

use crate::forks::Imported;

/// `allcores._errors.OwnerDiedError` with these words. It has no `__init__` of its own: no Python code runs here.
pub(crate) fn owner_died(py: Python<'_>, pid: Option<u32>, what: &str) -> PyErr {
    static CLASS: Imported = Imported::new("allcores._errors", "OwnerDiedError");
    let class = match CLASS.get(py) {
        Ok(class) => class.clone(),
        Err(error) => return error,
    };
    let message = match pid {
        Some(pid) => format!("process {pid} died while it held the {what}"),
        None => format!("an owner of the {what} died while it held it"),
    };
    let error = PyErr::from_type(
        class,
        format!("{message}; it is free again, but what it protects may be half-changed"),
    );
    match error.value(py).setattr("pid", pid) {
        Ok(()) => error,
        Err(other) => other,
    }
}
