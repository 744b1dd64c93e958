//! The tables of a type's methods and properties.

use std::ffi::{CStr, c_char, c_int, c_void};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyType;

use super::Raw;

/// One entry of a type's methods: `method!(Type, "name", kind, function, "docstring")`.
macro_rules! method {
    ($type:ty, $name:literal, noargs, $function:path, $doc:expr) => {{
        unsafe extern "C-unwind" fn call(
            this: *mut pyo3::ffi::PyObject,
            _: *mut pyo3::ffi::PyObject,
        ) -> *mut pyo3::ffi::PyObject {
            // SAFETY: the interpreter has checked the type of `self`, and holds a reference during the call.
            $function(unsafe { $crate::raw::Object::<$type>::of(this) })
        }
        $crate::raw::entry($name, call as *mut std::ffi::c_void, pyo3::ffi::METH_NOARGS, $doc)
    }};
    ($type:ty, $name:literal, one, $function:path, $doc:expr) => {{
        unsafe extern "C-unwind" fn call(
            this: *mut pyo3::ffi::PyObject,
            argument: *mut pyo3::ffi::PyObject,
        ) -> *mut pyo3::ffi::PyObject {
            // SAFETY: as above.
            $function(unsafe { $crate::raw::Object::<$type>::of(this) }, argument)
        }
        $crate::raw::entry($name, call as *mut std::ffi::c_void, pyo3::ffi::METH_O, $doc)
    }};
    ($type:ty, $name:literal, many, $function:path, $doc:expr) => {{
        unsafe extern "C-unwind" fn call(
            this: *mut pyo3::ffi::PyObject,
            values: *const *mut pyo3::ffi::PyObject,
            positions: pyo3::ffi::Py_ssize_t,
            names: *mut pyo3::ffi::PyObject,
        ) -> *mut pyo3::ffi::PyObject {
            // SAFETY: as above; and the arguments are handed through as they came.
            unsafe {
                $function(
                    $crate::raw::Object::<$type>::of(this),
                    $crate::raw::Args::new(values, positions, names),
                )
            }
        }
        $crate::raw::entry(
            $name,
            call as *mut std::ffi::c_void,
            pyo3::ffi::METH_FASTCALL | pyo3::ffi::METH_KEYWORDS,
            $doc,
        )
    }};
}
pub(crate) use method;

/// `special!(Type, "__enter__", function, "signature", "docstring")`: the function is one of the kind `many`.
macro_rules! special {
    ($type:ty, $name:literal, $function:path, $signature:literal, $doc:literal) => {{
        unsafe extern "C-unwind" fn call(
            bound: *mut pyo3::ffi::PyObject,
            values: *const *mut pyo3::ffi::PyObject,
            positions: usize,
            names: *mut pyo3::ffi::PyObject,
        ) -> *mut pyo3::ffi::PyObject {
            // SAFETY: the descriptor has checked the type of the object, and holds it during the call. The topmost bit of the
            // count says something of no interest here.
            unsafe {
                $function(
                    $crate::raw::Object::<$type>::of($crate::raw::special::Bound::this(bound)),
                    $crate::raw::Args::new(values, (positions << 1 >> 1) as isize, names),
                )
            }
        }
        $crate::raw::special::Definition {
            name: $name,
            signature: $signature,
            doc: $doc,
            call,
        }
    }};
}
pub(crate) use special as special_method;

/// One entry of a type's read-only properties: `property!(Type, "name", function, "docstring")`.
macro_rules! property {
    ($type:ty, $name:literal, $function:path, $doc:literal) => {{
        unsafe extern "C" fn get(
            this: *mut pyo3::ffi::PyObject,
            _: *mut std::ffi::c_void,
        ) -> *mut pyo3::ffi::PyObject {
            // SAFETY: the interpreter has checked the type of the object.
            $function(unsafe { $crate::raw::Object::<$type>::of(this) })
        }
        pyo3::ffi::PyGetSetDef {
            name: concat!($name, "\0").as_ptr().cast(),
            get: Some(get),
            doc: concat!($doc, "\0").as_ptr().cast(),
            ..Default::default()
        }
    }};
}
pub(crate) use property;

/// For [`method!`](crate::raw::method).
pub(crate) fn entry(
    name: &'static str,
    function: *mut c_void,
    flags: c_int,
    doc: &'static str,
) -> ffi::PyMethodDef {
    ffi::PyMethodDef {
        ml_name: lasting(name),
        // SAFETY: a function, whose kind the flags say; the union is a pointer.
        ml_meth: unsafe { std::mem::transmute::<*mut c_void, ffi::PyMethodDefPointer>(function) },
        ml_flags: flags,
        ml_doc: lasting(doc),
    }
}

/// Gives `class`, a subclass of T's type, those of its methods once more as its own: the interpreter's specialised calls want
/// the method of exactly the object's class.
pub(crate) fn own<T: Raw>(class: &Bound<'_, PyType>, names: &[&CStr]) -> PyResult<()> {
    let mut table = T::methods();
    // SAFETY: a text that lasts.
    table.retain(|entry| names.contains(&unsafe { CStr::from_ptr(entry.ml_name) }));
    add(class, table)
}

/// Gives `class` these methods. Whoever calls this knows that they are for its objects.
pub(crate) fn add(class: &Bound<'_, PyType>, table: Vec<ffi::PyMethodDef>) -> PyResult<()> {
    // The descriptors refer to the table for ever.
    for entry in table.leak() {
        // SAFETY: a class, and an entry with a text that lasts.
        let (name, method) = unsafe {
            let method = ffi::PyDescr_NewMethod(class.as_type_ptr(), entry);
            (
                CStr::from_ptr(entry.ml_name),
                Bound::from_owned_ptr_or_err(class.py(), method)?,
            )
        };
        class.setattr(name.to_string_lossy().as_ref(), method)?;
    }
    Ok(())
}

/// The text with a zero at its end, for ever: types are made once.
pub(crate) fn lasting(text: &str) -> *const c_char {
    let text = std::ffi::CString::new(text).expect("a text without zeros");
    text.into_raw().cast_const()
}
