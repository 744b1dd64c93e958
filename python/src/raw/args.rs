//! What a method is given.

use std::ffi::CStr;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicPtr, Ordering::Relaxed};

use pyo3::exceptions::PyTypeError;
use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};

/// The names of a method's parameters, as objects: a call in a program names its arguments by the very same, so that a name is
/// found by its address.
pub(crate) struct Names<const N: usize> {
    texts: [&'static CStr; N],
    objects: [AtomicPtr<PyObject>; N],
}

impl<const N: usize> Names<N> {
    pub(crate) const fn new(texts: [&'static CStr; N]) -> Names<N> {
        Names {
            texts,
            objects: [const { AtomicPtr::new(null_mut()) }; N],
        }
    }

    /// Makes the objects; until then no name is found.
    pub(crate) fn know(&self, py: Python<'_>) -> PyResult<()> {
        for (text, object) in self.texts.iter().zip(&self.objects) {
            // SAFETY: attached; a text that ends. The reference is kept for ever.
            let name = unsafe { ffi::PyUnicode_InternFromString(text.as_ptr()) };
            if name.is_null() {
                return Err(PyErr::fetch(py));
            }
            object.store(name, Relaxed);
        }
        Ok(())
    }

    /// One of them, borrowed; null before `know`.
    #[inline]
    pub(crate) fn object(&self, at: usize) -> *mut PyObject {
        self.objects[at].load(Relaxed)
    }

    #[inline]
    fn find(&self, name: *mut PyObject) -> Option<usize> {
        self.objects
            .iter()
            .position(|object| object.load(Relaxed) == name)
    }
}

/// The arguments of a method of the kind `many`: positions first, then those given by name.
#[derive(Clone, Copy)]
pub(crate) struct Args {
    values: *const *mut PyObject,
    positions: usize,
    names: *mut PyObject,
}

impl Args {
    /// No arguments.
    pub(crate) const NONE: Args = Args {
        values: null(),
        positions: 0,
        names: null_mut(),
    };

    /// # Safety
    /// As the interpreter calls METH_FASTCALL | METH_KEYWORDS; not to be kept beyond the call.
    #[inline]
    pub(crate) unsafe fn new(
        values: *const *mut PyObject,
        positions: ffi::Py_ssize_t,
        names: *mut PyObject,
    ) -> Args {
        Args {
            values,
            positions: positions as usize,
            names,
        }
    }

    /// Whether there are none.
    #[inline]
    pub(crate) fn is_empty(self) -> bool {
        self.positions == 0 && self.names.is_null()
    }

    /// The only argument, if there is one, and given by position.
    #[inline]
    pub(crate) fn only(self) -> Option<*mut PyObject> {
        // SAFETY: there is one.
        (self.positions == 1 && self.names.is_null()).then(|| unsafe { *self.values })
    }

    /// The only argument, by position or with this name; None (Python's) if there is none at all, and `None` if what was
    /// given is anything else. Borrowed.
    pub(crate) fn one_of(self, name: &CStr) -> Option<*mut PyObject> {
        // SAFETY: None lives for ever; the names are a tuple of strings, or null; the values are as many as both say.
        unsafe {
            if self.is_empty() {
                return Some(ffi::Py_None());
            }
            let named = match self.names.is_null() {
                true => 0,
                false => ffi::PyTuple_Size(self.names),
            };
            let fits = match (self.positions, named) {
                (1, 0) => true,
                (0, 1) => {
                    let given = ffi::PyTuple_GetItem(self.names, 0);
                    ffi::PyUnicode_CompareWithASCIIString(given, name.as_ptr()) == 0
                }
                _ => false,
            };
            fits.then(|| *self.values)
        }
    }

    /// All of exactly three, given by position. Borrowed.
    pub(crate) fn three(self) -> Option<[*mut PyObject; 3]> {
        // SAFETY: there are three.
        (self.positions == 3 && self.names.is_null())
            .then(|| unsafe { [0, 1, 2].map(|at| *self.values.add(at)) })
    }

    /// Which argument is which parameter, null where none is given, if that is plain to see: otherwise [`Args::bind`] knows,
    /// or knows what is wrong. Borrowed.
    #[inline]
    pub(crate) fn fit<const N: usize>(self, parameters: &Names<N>) -> Option<[*mut PyObject; N]> {
        let mut fitted = [null_mut(); N];
        // SAFETY: the names are a tuple of strings, or null; the values are as many as both say.
        unsafe {
            for at in 0..self.positions {
                *fitted.get_mut(at)? = *self.values.add(at);
            }
            if self.names.is_null() {
                return Some(fitted);
            }
            for at in 0..ffi::PyTuple_Size(self.names) {
                let place = &mut fitted[parameters.find(ffi::PyTuple_GetItem(self.names, at))?];
                if !place.is_null() {
                    return None;
                }
                *place = *self.values.add(self.positions + at as usize);
            }
        }
        Some(fitted)
    }

    /// Which argument is which parameter.
    ///
    /// # Errors
    /// TypeError, for too many, twice the same, or an unknown name.
    pub(crate) fn bind<'a, const N: usize>(
        self,
        py: Python<'a>,
        function: &str,
        parameters: [&str; N],
    ) -> PyResult<[Option<Borrowed<'a, 'a, PyAny>>; N]> {
        let mut bound = [None; N];
        if self.positions > N {
            let given = self.positions;
            return Err(PyTypeError::new_err(format!(
                "{function}() takes at most {N} arguments ({given} given)"
            )));
        }
        // SAFETY: the interpreter keeps the arguments alive during the call.
        let value = |at: usize| unsafe { Borrowed::from_ptr(py, *self.values.add(at)) };
        for (at, place) in bound.iter_mut().enumerate().take(self.positions) {
            *place = Some(value(at));
        }
        // SAFETY: a tuple of strings, or null.
        let Some(names) = (unsafe { Borrowed::from_ptr_or_opt(py, self.names) }) else {
            return Ok(bound);
        };
        for (at, name) in names.cast::<PyTuple>()?.iter_borrowed().enumerate() {
            let name = name.cast::<PyString>()?;
            let name = name.to_str()?;
            let Some(index) = parameters.iter().position(|known| *known == name) else {
                return Err(PyTypeError::new_err(format!(
                    "{function}() got an unexpected keyword argument '{name}'"
                )));
            };
            if bound[index].is_some() {
                return Err(PyTypeError::new_err(format!(
                    "{function}() got multiple values for argument '{name}'"
                )));
            }
            bound[index] = Some(value(self.positions + at));
        }
        Ok(bound)
    }
}
