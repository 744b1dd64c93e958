//! `_allcores.SemLock`: the base of Lock, RLock, Semaphore and BoundedSemaphore of `allcores.multiprocessing`.
//!
//! A type written against the C API by hand: the stdlib's own is C as well, and each pair of calls has a few tens of
//! nanoseconds. What is taken or released without waiting goes straight to the core; everything else through `slowly`.

mod core;
mod methods;

use std::ptr::{self, null_mut};
use std::sync::OnceLock;

use pyo3::ffi;
use pyo3::prelude::*;

use self::core::{Core, Notes, Refusal, not_made};

#[allow(unused_imports, reason = "Event will wait so")]
pub(crate) use self::core::wait_plain;

/// An instance as it lies in memory. Made empty by `__new__`, and filled once.
#[repr(C)]
struct Object {
    head: ffi::PyObject,
    notes: Notes,
    core: OnceLock<Core>,
}

impl Object {
    /// # Safety
    /// `object` must be an instance of the type, alive for `'a`.
    #[inline]
    unsafe fn at<'a>(object: *mut ffi::PyObject) -> &'a Object {
        // SAFETY: instances are laid out so, and everything behind the head is atomic.
        unsafe { &*object.cast() }
    }

    fn core(&self) -> PyResult<&Core> {
        self.core.get().ok_or_else(not_made)
    }

    #[inline]
    fn release(&self) -> Result<(), Refusal> {
        match self.core.get() {
            Some(core) => core.release(&self.notes),
            None => Err(Refusal::NotMade),
        }
    }
}

unsafe extern "C" fn new(
    class: *mut ffi::PyTypeObject,
    _args: *mut ffi::PyObject,
    _kwargs: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: called by the interpreter with a type whose instances begin as ours do; the slot of every type is filled.
    unsafe {
        let alloc = ffi::PyType_GetSlot(class, ffi::Py_tp_alloc);
        let alloc: ffi::allocfunc = std::mem::transmute(alloc);
        let object = alloc(class, 0);
        if !object.is_null() {
            let this = object.cast::<Object>();
            ptr::write(&raw mut (*this).notes, Notes::default());
            ptr::write(&raw mut (*this).core, OnceLock::new());
        }
        object
    }
}

unsafe extern "C" fn dealloc(object: *mut ffi::PyObject) {
    // SAFETY: nobody else has the instance any more, `new` filled its fields, and its type outlives it.
    unsafe {
        let class = ffi::Py_TYPE(object);
        ptr::drop_in_place(&raw mut (*object.cast::<Object>()).core);
        let free = ffi::PyType_GetSlot(class, ffi::Py_tp_free);
        let free: ffi::freefunc = std::mem::transmute(free);
        free(object.cast());
        ffi::Py_DECREF(class.cast());
    }
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let slot = |slot, pfunc| ffi::PyType_Slot { slot, pfunc };
    let mut slots = [
        slot(ffi::Py_tp_new, new as *mut _),
        slot(ffi::Py_tp_dealloc, dealloc as *mut _),
        slot(ffi::Py_tp_methods, methods::methods().cast()),
        slot(ffi::Py_tp_getset, methods::attributes().cast()),
        slot(
            ffi::Py_tp_doc,
            c"A semaphore or lock in memory that processes share.".as_ptr() as *mut _,
        ),
        slot(0, null_mut()),
    ];
    let mut spec = ffi::PyType_Spec {
        name: c"allcores._allcores.SemLock".as_ptr(),
        basicsize: size_of::<Object>() as i32,
        itemsize: 0,
        flags: (ffi::Py_TPFLAGS_DEFAULT | ffi::Py_TPFLAGS_BASETYPE | ffi::Py_TPFLAGS_IMMUTABLETYPE)
            as u32,
        slots: slots.as_mut_ptr(),
    };
    // SAFETY: name, methods and attributes are static; slots and spec are copied.
    let class =
        unsafe { Bound::from_owned_ptr_or_err(module.py(), ffi::PyType_FromSpec(&raw mut spec))? };
    module.add("SemLock", class)
}
