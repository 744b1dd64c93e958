//! How a type is made, and the C functions that every type has.

use std::ffi::{c_int, c_uint, c_void};
use std::mem::offset_of;
use std::ptr::{null, null_mut};

use pyo3::ffi::{self, PyObject, PyTypeObject};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple, PyType};

use super::{Object, Raw, calls, slowly, special};

/// Makes the type, and puts it into the module.
pub(crate) fn create<T: Raw>(module: &Bound<'_, PyModule>) -> PyResult<()> {
    const {
        assert!(
            align_of::<T>() <= 16,
            "the interpreter's allocator aligns to 16 bytes"
        )
    };
    let py = module.py();
    let name = T::NAME.to_str().expect("a type's name is UTF-8");
    let mut flags = ffi::Py_TPFLAGS_DEFAULT;
    if T::SUBCLASS {
        flags |= ffi::Py_TPFLAGS_BASETYPE;
    }
    if T::CYCLES {
        flags |= ffi::Py_TPFLAGS_HAVE_GC;
    }
    // The type refers to these tables for ever.
    let mut methods = T::methods();
    methods.push(ffi::PyMethodDef::zeroed());
    let mut properties = T::properties();
    properties.push(ffi::PyGetSetDef::default());
    let members = vec![
        ffi::PyMemberDef {
            name: c"__weaklistoffset__".as_ptr(),
            type_code: ffi::Py_T_PYSSIZET,
            offset: offset_of!(Object<T>, weakrefs) as ffi::Py_ssize_t,
            flags: ffi::Py_READONLY,
            doc: null(),
        },
        ffi::PyMemberDef::default(),
    ];
    let slot = |slot, pfunc| ffi::PyType_Slot { slot, pfunc };
    let mut slots = vec![
        slot(ffi::Py_tp_doc, T::DOC.as_ptr().cast_mut().cast()),
        slot(ffi::Py_tp_new, new::<T> as *mut c_void),
        slot(ffi::Py_tp_dealloc, dealloc::<T> as *mut c_void),
        slot(ffi::Py_tp_repr, repr::<T> as *mut c_void),
        slot(ffi::Py_tp_methods, methods.leak().as_mut_ptr().cast()),
        slot(ffi::Py_tp_getset, properties.leak().as_mut_ptr().cast()),
        slot(ffi::Py_tp_members, members.leak().as_mut_ptr().cast()),
    ];
    if T::CYCLES {
        slots.push(slot(ffi::Py_tp_traverse, traverse::<T> as *mut c_void));
        slots.push(slot(ffi::Py_tp_clear, clear::<T> as *mut c_void));
    }
    slots.extend(T::slots());
    slots.push(slot(0, null_mut()));
    let mut spec = ffi::PyType_Spec {
        name: T::NAME.as_ptr(),
        basicsize: size_of::<Object<T>>() as c_int,
        itemsize: 0,
        flags: flags as c_uint,
        slots: slots.as_mut_ptr(),
    };
    // SAFETY: a complete description, whose tables outlive the type.
    let made = unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyType_FromSpec(&mut spec))? };
    let made = made.cast_into::<PyType>()?;
    T::cell().set(made.as_type_ptr());
    for definition in T::specials() {
        special::add(&made, definition)?;
    }
    module.add(name.rsplit('.').next().unwrap_or(name), &made)?;
    // One reference stays for the cell.
    std::mem::forget(made);
    Ok(())
}

/// # Safety
/// `kind` must be T's type or a subclass of it.
unsafe fn allocate<T: Raw>(kind: *mut PyTypeObject, value: T) -> *mut PyObject {
    // SAFETY: a heap type's own allocator: zeroed memory, the head filled in, a reference to the type taken.
    let object = unsafe { ffi::PyType_GenericAlloc(kind, 0) };
    if !object.is_null() {
        // SAFETY: of T's size, as its type or a subclass of it; nobody else knows the object.
        unsafe { (&raw mut (*object.cast::<Object<T>>()).value).write(value) };
    }
    object
}

unsafe extern "C-unwind" fn new<T: Raw>(
    kind: *mut PyTypeObject,
    args: *mut PyObject,
    kwargs: *mut PyObject,
) -> *mut PyObject {
    slowly(|py| {
        if T::INIT && has_init::<T>(kind) {
            let value = T::new(&PyTuple::empty(py), None)?;
            // SAFETY: as below.
            return Ok(unsafe { allocate(kind, value) });
        }
        // SAFETY: a tuple, and a dict or null, as the interpreter calls a constructor.
        let (args, kwargs) = unsafe {
            (
                Borrowed::from_ptr(py, args),
                Borrowed::from_ptr_or_opt(py, kwargs),
            )
        };
        let kwargs = kwargs.map(|kwargs| kwargs.to_owned().cast_into::<PyDict>());
        let (args, kwargs) = (args.to_owned().cast_into::<PyTuple>()?, kwargs.transpose()?);
        if kind == T::cell().get() {
            T::deprecated(&args, kwargs.as_ref())?;
        }
        let value = T::new(&args, kwargs.as_ref())?;
        // SAFETY: the interpreter calls a type's own constructor, or a base's.
        Ok(unsafe { allocate(kind, value) })
    })
}

/// Whether a subclass of T's type has an `__init__` of its own.
fn has_init<T: Raw>(kind: *mut PyTypeObject) -> bool {
    // SAFETY: both are heap types.
    let init = |kind| unsafe { ffi::PyType_GetSlot(kind, ffi::Py_tp_init) };
    init(kind) != init(T::cell().get())
}

unsafe extern "C-unwind" fn dealloc<T: Raw>(object: *mut PyObject) {
    // SAFETY: the last reference is gone, so this is ours alone. A heap type's dealloc gives back the reference to the type
    // after the memory. Nothing here is dropped while weak references' callbacks run.
    unsafe {
        let kind = ffi::Py_TYPE(object);
        if T::CYCLES {
            ffi::PyObject_GC_UnTrack(object.cast());
        }
        let this = object.cast::<Object<T>>();
        if !(*this).weakrefs.is_null() {
            calls::PyObject_ClearWeakRefs(object);
        }
        if T::CYCLES {
            (*this).value.clear();
        }
        std::ptr::drop_in_place(&raw mut (*this).value);
        let free = ffi::PyType_GetSlot(kind, ffi::Py_tp_free);
        let free: unsafe extern "C" fn(*mut c_void) = std::mem::transmute(free);
        free(object.cast());
        ffi::Py_DECREF(kind.cast());
    }
}

unsafe extern "C-unwind" fn repr<T: Raw>(object: *mut PyObject) -> *mut PyObject {
    slowly(|py| {
        // SAFETY: the interpreter calls this for instances of the type.
        let text = T::repr(unsafe { Object::<T>::of(object) }, py)?;
        Ok(PyString::new(py, &text).into_ptr())
    })
}

unsafe extern "C" fn traverse<T: Raw>(
    object: *mut PyObject,
    visit: ffi::visitproc,
    arg: *mut c_void,
) -> c_int {
    let mut show = |held: *mut PyObject| match held.is_null() {
        true => 0,
        // SAFETY: the collector's own visitor, and an object that this one holds.
        false => unsafe { visit(held, arg) },
    };
    // SAFETY: the collector calls this for instances of the type, which is a heap type, and so held by each.
    unsafe {
        match show(ffi::Py_TYPE(object).cast()) {
            0 => Object::<T>::of(object).value.visit(&mut show),
            stop => stop,
        }
    }
}

unsafe extern "C-unwind" fn clear<T: Raw>(object: *mut PyObject) -> c_int {
    // SAFETY: the collector calls this for instances of the type.
    unsafe { Object::<T>::of(object).value.clear() };
    0
}
