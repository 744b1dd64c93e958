//! Functions of the C API that may run Python code, hence unwind.

use std::ffi::CStr;
use std::ptr::null_mut;

use pyo3::ffi::{self, PyObject};

unsafe extern "C-unwind" {
    /// `object.name`, a new reference.
    pub(crate) fn PyObject_GetAttr(object: *mut PyObject, name: *mut PyObject) -> *mut PyObject;
    /// `callable(argument)`.
    pub(crate) fn PyObject_CallOneArg(
        callable: *mut PyObject,
        argument: *mut PyObject,
    ) -> *mut PyObject;
    /// New containers: the garbage collector may run, and with it what the program has for its objects' ends.
    pub(crate) fn PyTuple_New(length: isize) -> *mut PyObject;
    pub(crate) fn PyList_New(length: isize) -> *mut PyObject;
    pub(crate) fn PyDict_New() -> *mut PyObject;
    /// `object.name(*args)`: the arguments are references, the last one null.
    pub(crate) fn PyObject_CallMethodObjArgs(
        object: *mut PyObject,
        name: *mut PyObject,
        ...
    ) -> *mut PyObject;
    /// Whether `object` is true: 1, 0, or -1 with an exception set.
    pub(crate) fn PyObject_IsTrue(object: *mut PyObject) -> std::ffi::c_int;
    /// `callable(*args, **kwargs)`: a tuple, and a dict or null.
    pub(crate) fn PyObject_Call(
        callable: *mut PyObject,
        args: *mut PyObject,
        kwargs: *mut PyObject,
    ) -> *mut PyObject;
    /// The `tp_call` of a type whose objects have a vectorcall.
    pub(crate) fn PyVectorcall_Call(
        callable: *mut PyObject,
        args: *mut PyObject,
        kwargs: *mut PyObject,
    ) -> *mut PyObject;
    /// Gives a reference back; null is nothing.
    pub(crate) fn Py_DecRef(object: *mut PyObject);
    pub(crate) fn PyObject_ClearWeakRefs(object: *mut PyObject);
}

/// `object.name(*arguments)`, three at most. Attached, and with live objects; owns nothing that would have to be dropped: a thread
/// that is unwound here loses the name.
pub(crate) fn method<const N: usize>(
    object: *mut PyObject,
    name: &CStr,
    arguments: [*mut PyObject; N],
) -> *mut PyObject {
    const { assert!(N <= 3) };
    let mut all = [null_mut(); 3];
    all[..N].copy_from_slice(&arguments);
    let [first, second, third] = all;
    // SAFETY: as the caller has it; the first null ends the arguments.
    unsafe {
        let name = ffi::PyUnicode_InternFromString(name.as_ptr());
        if name.is_null() {
            return null_mut();
        }
        let end = null_mut::<PyObject>();
        let result = PyObject_CallMethodObjArgs(object, name, first, second, third, end);
        ffi::Py_DECREF(name);
        result
    }
}
