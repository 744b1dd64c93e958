//! Methods that a class calls its own.
//!
//! The interpreter's specialised calls want the method of exactly the object's class, not of a base. And a `with` statement
//! asks for `__enter__` and `__exit__` as bound methods, two objects that live for a moment: a third of its time. So each of
//! the classes in `synchronize.py` gets `acquire` and `release` once more, and for `with` two descriptors whose bound
//! methods are kept for the next time.

use std::ffi::{CStr, c_int, c_uint, c_void};
use std::mem::offset_of;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicPtr, Ordering::*};

use pyo3::exceptions::PyTypeError;
use pyo3::ffi::{self, PyObject, PyTypeObject};
use pyo3::prelude::*;
use pyo3::types::PyType;

use super::super::event::{EVENT, SharedEvent};
use super::SemLock;
use super::methods::{SEMLOCK, acquire, release};
use crate::raw::{Args, Object, Raw, raise};

type Call = unsafe extern "C-unwind" fn(
    *mut PyObject,
    *const *mut PyObject,
    usize,
    *mut PyObject,
) -> *mut PyObject;

/// A bound method: called, it does one thing to its lock.
#[repr(C)]
struct BoundMethod {
    head: PyObject,
    call: Call,
    lock: *mut PyObject,
}

/// A descriptor in the class: makes bound methods.
#[repr(C)]
struct Binder {
    head: PyObject,
    call: Call,
    /// The method of the base, for those who ask the class and not an object.
    plain: *mut PyObject,
}

static BOUND: AtomicPtr<PyTypeObject> = AtomicPtr::new(null_mut());
static BINDER: AtomicPtr<PyTypeObject> = AtomicPtr::new(null_mut());
/// Two bound methods that nobody uses at the moment: as many as one `with` needs. Taken and put back by exchanges.
static SPARE: [AtomicPtr<BoundMethod>; 2] = [const { AtomicPtr::new(null_mut()) }; 2];

unsafe extern "C-unwind" fn call_enter(
    bound: *mut PyObject,
    _: *const *mut PyObject,
    _: usize,
    _: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: called on a bound method, which holds its lock.
    acquire(
        unsafe { Object::<SemLock>::of((*bound.cast::<BoundMethod>()).lock) },
        Args::NONE,
    )
}

unsafe extern "C-unwind" fn call_exit(
    bound: *mut PyObject,
    _: *const *mut PyObject,
    _: usize,
    _: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: as above.
    release(unsafe { Object::<SemLock>::of((*bound.cast::<BoundMethod>()).lock) })
}

/// The same for those who come with a tuple.
unsafe extern "C-unwind" fn call(
    bound: *mut PyObject,
    _: *mut PyObject,
    _: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: as above; neither looks at its arguments.
    unsafe { ((*bound.cast::<BoundMethod>()).call)(bound, null(), 0, null_mut()) }
}

unsafe extern "C-unwind" fn bind(
    binder: *mut PyObject,
    lock: *mut PyObject,
    _: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: called on a binder, with an object or null.
    unsafe {
        let binder = binder.cast::<Binder>();
        if lock.is_null() {
            return ffi::Py_NewRef((*binder).plain);
        }
        if ffi::PyType_IsSubtype(ffi::Py_TYPE(lock), SEMLOCK.get()) == 0 {
            return raise(PyTypeError::new_err(
                "this method is for locks and semaphores",
            ));
        }
        let spare = SPARE
            .iter()
            .map(|place| place.swap(null_mut(), Acquire))
            .find(|spare| !spare.is_null());
        let bound = match spare {
            // As a new object is: with one reference, of whoever gets it.
            Some(bound) => ffi::PyObject_Init(bound.cast(), BOUND.load(Relaxed)).cast(),
            None => ffi::PyType_GenericAlloc(BOUND.load(Relaxed), 0).cast::<BoundMethod>(),
        };
        if !bound.is_null() {
            (*bound).call = (*binder).call;
            (*bound).lock = ffi::Py_NewRef(lock);
        }
        bound.cast()
    }
}

unsafe extern "C-unwind" fn dealloc(object: *mut PyObject) {
    // SAFETY: the last reference is gone, so this is ours alone.
    unsafe {
        let bound = object.cast::<BoundMethod>();
        let lock = (*bound).lock;
        let kind = ffi::Py_TYPE(object);
        let kept = SPARE.iter().any(|place| {
            place
                .compare_exchange(null_mut(), bound, Release, Relaxed)
                .is_ok()
        });
        if !kept {
            ffi::PyObject_Free(object.cast());
        }
        ffi::Py_DECREF(kind.cast());
        // Last, since it may run Python code.
        ffi::Py_DECREF(lock);
    }
}

/// Gives `class` those of the base's methods as its own.
fn own<T: Raw>(py: Python<'_>, class: &Bound<'_, PyType>, names: &[&CStr]) -> PyResult<()> {
    // The descriptors refer to the table for ever.
    for entry in T::methods().leak() {
        // SAFETY: a text that lasts.
        let name = unsafe { CStr::from_ptr(entry.ml_name) };
        if names.contains(&name) {
            // SAFETY: a class, and an entry that lasts.
            let own = unsafe {
                Bound::from_owned_ptr_or_err(
                    py,
                    ffi::PyDescr_NewMethod(class.as_type_ptr(), entry),
                )?
            };
            class.setattr(name.to_string_lossy().as_ref(), own)?;
        }
    }
    Ok(())
}

/// Gives `class`, one of those that `synchronize.py` makes, the methods that are called most as its own.
#[pyfunction]
fn quicken(py: Python<'_>, class: &Bound<'_, PyType>) -> PyResult<()> {
    // SAFETY: the types that `register` made live as long as the interpreter.
    let [semlock, event] = [&SEMLOCK, &EVENT]
        .map(|cell| unsafe { Borrowed::from_ptr(py, cell.get().cast::<PyObject>()) });
    if class.is_subclass(&event)? {
        return own::<SharedEvent>(py, class, &[c"is_set", c"set", c"clear", c"wait"]);
    }
    if !class.is_subclass(&semlock)? {
        return Err(PyTypeError::new_err(
            "a subclass of SemLock or SharedEvent is wanted",
        ));
    }
    own::<SemLock>(py, class, &[c"acquire", c"release"])?;
    for (name, call) in [
        ("__enter__", call_enter as Call),
        ("__exit__", call_exit as Call),
    ] {
        let plain = semlock.getattr(name)?;
        // SAFETY: the type below, whose fields are filled here.
        let binder = unsafe {
            let binder = ffi::PyType_GenericAlloc(BINDER.load(Relaxed), 0);
            let binder = Bound::from_owned_ptr_or_err(py, binder)?;
            let fields = binder.as_ptr().cast::<Binder>();
            (*fields).call = call;
            (*fields).plain = plain.into_ptr();
            binder
        };
        class.setattr(name, binder)?;
    }
    Ok(())
}

/// A type that lives as long as the interpreter.
fn make(
    py: Python<'_>,
    cell: &AtomicPtr<PyTypeObject>,
    name: &'static CStr,
    size: usize,
    flags: c_uint,
    slots: &[(c_int, *mut c_void)],
) -> PyResult<()> {
    let slot = |&(slot, pfunc): &_| ffi::PyType_Slot { slot, pfunc };
    let mut slots = slots
        .iter()
        .chain(&[(0, null_mut())])
        .map(slot)
        .collect::<Vec<_>>();
    let mut spec = ffi::PyType_Spec {
        name: name.as_ptr(),
        basicsize: size as c_int,
        itemsize: 0,
        flags: ffi::Py_TPFLAGS_DEFAULT as c_uint | flags,
        slots: slots.as_mut_ptr(),
    };
    // SAFETY: a complete description, whose tables outlive the type.
    let made = unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyType_FromSpec(&raw mut spec))? };
    cell.store(made.into_ptr().cast(), Release);
    Ok(())
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    /// Of the stable ABI since 3.12; 3.11 knows it as well.
    const HAVE_VECTORCALL: c_uint = 1 << 11;
    let py = module.py();
    // The type refers to it for ever.
    let members = vec![
        ffi::PyMemberDef {
            name: c"__vectorcalloffset__".as_ptr(),
            type_code: ffi::Py_T_PYSSIZET,
            offset: offset_of!(BoundMethod, call) as ffi::Py_ssize_t,
            flags: ffi::Py_READONLY,
            doc: null(),
        },
        ffi::PyMemberDef::default(),
    ];
    let bound = [
        (ffi::Py_tp_call, call as *mut c_void),
        (ffi::Py_tp_dealloc, dealloc as *mut c_void),
        (ffi::Py_tp_members, members.leak().as_mut_ptr().cast()),
    ];
    let name = c"allcores._allcores.BoundMethod";
    make(
        py,
        &BOUND,
        name,
        size_of::<BoundMethod>(),
        HAVE_VECTORCALL,
        &bound,
    )?;
    let binder = [(ffi::Py_tp_descr_get, bind as *mut c_void)];
    let name = c"allcores._allcores.Binder";
    make(py, &BINDER, name, size_of::<Binder>(), 0, &binder)?;
    module.add_function(wrap_pyfunction!(quicken, module)?)
}
