//! `__enter__` and `__exit__` as cheap as `with` allows.
//!
//! `with` does not call a method as `object.name()` does, without ever binding it: up to 3.13 it binds both first. For a method
//! of the usual kind that makes two objects with a dozen fields each, which takes longer than a lock's own work. So these
//! two are descriptors of a type of our own. What such a descriptor binds is small, and when it is given back it stays at
//! hand for the next time: one for each descriptor, as `with` binds each once at a time.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::offset_of;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicPtr, Ordering::Relaxed};

use pyo3::exceptions::PyTypeError;
use pyo3::ffi::{self, PyObject, PyTypeObject};
use pyo3::prelude::*;
use pyo3::types::PyType;

use super::{TypeCell, calls, lasting, raise, slowly};

/// A function as the interpreter calls it by vectorcall; made by [`special!`](crate::raw::special).
pub(crate) type Call = unsafe extern "C-unwind" fn(
    bound: *mut PyObject,
    values: *const *mut PyObject,
    positions: usize,
    names: *mut PyObject,
) -> *mut PyObject;

/// The description of one: what [`special!`](crate::raw::special) makes.
pub(crate) struct Definition {
    pub(crate) name: &'static str,
    pub(crate) signature: &'static str,
    pub(crate) doc: &'static str,
    pub(crate) call: Call,
}

/// The descriptor in the type's dictionary. Never freed, as the type is not.
#[repr(C)]
struct Special {
    head: PyObject,
    name: *const c_char,
    signature: *const c_char,
    doc: *const c_char,
    call: Call,
    /// A reference to the type.
    owner: *mut PyTypeObject,
    /// One that is bound to nothing: no references, a reference to its type.
    spare: AtomicPtr<Bound>,
}

/// What the descriptor gives for an object.
#[repr(C)]
pub(crate) struct Bound {
    head: PyObject,
    call: Call,
    /// A reference to the object.
    this: *mut PyObject,
    special: *const Special,
}

impl Bound {
    /// The object that it is bound to.
    ///
    /// # Safety
    /// `bound` must be one of these, and live.
    #[inline]
    pub(crate) unsafe fn this(bound: *mut PyObject) -> *mut PyObject {
        // SAFETY: as the caller promises.
        unsafe { (*bound.cast::<Bound>()).this }
    }
}

static SPECIAL: TypeCell = TypeCell::new();
static BOUND: TypeCell = TypeCell::new();

/// Whether there is an interpreter lock, which makes "look, then take" of the spare one step. In a free-threaded build the
/// head of each object is longer, and nothing is spared.
const ONE_AT_A_TIME: bool = size_of::<PyObject>() == 2 * size_of::<usize>();

/// Py_TPFLAGS_HAVE_VECTORCALL, which is as old as the stable ABI that we build for, and has a name in it only since 3.12.
const HAVE_VECTORCALL: std::ffi::c_ulong = 1 << 11;

/// Puts a descriptor into the dictionary of a type.
pub(crate) fn add(kind: &pyo3::Bound<'_, PyType>, definition: Definition) -> PyResult<()> {
    let py = kind.py();
    if SPECIAL.get().is_null() {
        create_types(py)?;
    }
    // SAFETY: the type that has just been made; all its fields are filled in before anybody sees the object.
    let special = unsafe {
        let object =
            pyo3::Bound::from_owned_ptr_or_err(py, ffi::PyType_GenericAlloc(SPECIAL.get(), 0))?;
        let special = object.as_ptr().cast::<Special>();
        (&raw mut (*special).name).write(lasting(definition.name));
        (&raw mut (*special).signature).write(lasting(definition.signature));
        (&raw mut (*special).doc).write(lasting(definition.doc));
        (&raw mut (*special).call).write(definition.call);
        (&raw mut (*special).owner).write(kind.clone().into_ptr().cast());
        (&raw mut (*special).spare).write(AtomicPtr::new(null_mut()));
        object
    };
    kind.setattr(definition.name, &special)?;
    std::mem::forget(special);
    Ok(())
}

unsafe extern "C-unwind" fn get(
    special: *mut PyObject,
    object: *mut PyObject,
    _: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: the interpreter calls this for descriptors of ours, with an object that it holds, or null. A spare has no
    // references, and nobody else takes it meanwhile.
    unsafe {
        if object.is_null() {
            return ffi::Py_NewRef(special);
        }
        let special = special.cast::<Special>();
        let owner = (*special).owner;
        let kind = ffi::Py_TYPE(object);
        if kind != owner && ffi::PyType_IsSubtype(kind, owner) == 0 {
            return wrong_object();
        }
        let spare = (*special).spare.load(Relaxed);
        if ONE_AT_A_TIME && !spare.is_null() {
            (*special).spare.store(null_mut(), Relaxed);
            // The count of references comes first.
            spare.cast::<ffi::Py_ssize_t>().write(1);
            (*spare).this = ffi::Py_NewRef(object);
            ffi::PyObject_GC_Track(spare.cast());
            return spare.cast();
        }
        let bound = ffi::PyType_GenericAlloc(BOUND.get(), 0).cast::<Bound>();
        if !bound.is_null() {
            (*bound).call = (*special).call;
            (*bound).this = ffi::Py_NewRef(object);
            (*bound).special = special;
        }
        bound.cast()
    }
}

#[cold]
fn wrong_object() -> *mut PyObject {
    raise(PyTypeError::new_err(
        "descriptor does not apply to an object of this type",
    ))
}

unsafe extern "C-unwind" fn dealloc(object: *mut PyObject) {
    // SAFETY: the last reference is gone: ours alone. The object that it was bound to goes last, since that may run code.
    unsafe {
        ffi::PyObject_GC_UnTrack(object.cast());
        let bound = object.cast::<Bound>();
        let this = (*bound).this;
        (*bound).this = null_mut();
        let special = (*bound).special;
        if ONE_AT_A_TIME && !special.is_null() && (*special).spare.load(Relaxed).is_null() {
            (*special).spare.store(bound, Relaxed);
        } else {
            let kind = ffi::Py_TYPE(object);
            ffi::PyObject_GC_Del(object.cast());
            ffi::Py_DECREF(kind.cast());
        }
        calls::Py_DecRef(this);
    }
}

unsafe extern "C" fn traverse(
    object: *mut PyObject,
    visit: ffi::visitproc,
    arg: *mut c_void,
) -> c_int {
    // SAFETY: the collector's own visitor, and one of ours.
    unsafe {
        let this = (*object.cast::<Bound>()).this;
        match visit(ffi::Py_TYPE(object).cast(), arg) {
            0 if this.is_null() => 0,
            0 => visit(this, arg),
            stop => stop,
        }
    }
}

unsafe extern "C-unwind" fn clear(object: *mut PyObject) -> c_int {
    // SAFETY: one of ours; a bound one that the collector breaks up is called by nobody any more.
    unsafe {
        let bound = object.cast::<Bound>();
        let this = (*bound).this;
        (*bound).this = ffi::Py_NewRef(ffi::Py_None());
        (*bound).call = broken_up;
        // Not to be used again.
        (*bound).special = null();
        calls::Py_DecRef(this);
    }
    0
}

unsafe extern "C-unwind" fn broken_up(
    _: *mut PyObject,
    _: *const *mut PyObject,
    _: usize,
    _: *mut PyObject,
) -> *mut PyObject {
    wrong_object()
}

/// `Type.__enter__(object, *args)`: binds, and calls that.
unsafe extern "C-unwind" fn call_unbound(
    special: *mut PyObject,
    args: *mut PyObject,
    kwargs: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: a descriptor, a tuple, a dict or null; each new reference is given back.
    unsafe {
        let count = ffi::PyTuple_Size(args);
        if count < 1 {
            return wrong_object();
        }
        let bound = get(special, ffi::PyTuple_GetItem(args, 0), null_mut());
        if bound.is_null() {
            return null_mut();
        }
        let rest = ffi::PyTuple_GetSlice(args, 1, count);
        let result = match rest.is_null() {
            true => null_mut(),
            false => calls::PyObject_Call(bound, rest, kwargs),
        };
        ffi::Py_XDECREF(rest);
        calls::Py_DecRef(bound);
        result
    }
}

unsafe extern "C-unwind" fn repr(special: *mut PyObject) -> *mut PyObject {
    slowly(|py| {
        // SAFETY: one of ours; its name lives for ever.
        let name = unsafe { CStr::from_ptr((*special.cast::<Special>()).name) };
        let text = format!("<method '{}'>", name.to_string_lossy());
        Ok(pyo3::types::PyString::new(py, &text).into_ptr())
    })
}

fn member(name: &'static CStr, type_code: c_int, offset: usize) -> ffi::PyMemberDef {
    ffi::PyMemberDef {
        name: name.as_ptr(),
        type_code,
        offset: offset as ffi::Py_ssize_t,
        flags: ffi::Py_READONLY,
        doc: null(),
    }
}

fn create_types(py: Python<'_>) -> PyResult<()> {
    let slot = |slot, pfunc| ffi::PyType_Slot { slot, pfunc };
    let members = vec![
        member(c"__name__", ffi::Py_T_STRING, offset_of!(Special, name)),
        member(
            c"__text_signature__",
            ffi::Py_T_STRING,
            offset_of!(Special, signature),
        ),
        member(c"__doc__", ffi::Py_T_STRING, offset_of!(Special, doc)),
        ffi::PyMemberDef::default(),
    ];
    let mut slots = [
        slot(ffi::Py_tp_descr_get, get as *mut c_void),
        slot(ffi::Py_tp_call, call_unbound as *mut c_void),
        slot(ffi::Py_tp_repr, repr as *mut c_void),
        slot(ffi::Py_tp_members, members.leak().as_mut_ptr().cast()),
        slot(0, null_mut()),
    ];
    let flags = ffi::Py_TPFLAGS_DEFAULT | ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION;
    create_type(
        py,
        &SPECIAL,
        c"allcores._allcores.special_method",
        size_of::<Special>(),
        flags,
        &mut slots,
    )?;

    let members = vec![
        member(
            c"__vectorcalloffset__",
            ffi::Py_T_PYSSIZET,
            offset_of!(Bound, call),
        ),
        member(c"__self__", ffi::Py_T_OBJECT_EX, offset_of!(Bound, this)),
        ffi::PyMemberDef::default(),
    ];
    let mut slots = [
        slot(ffi::Py_tp_call, calls::PyVectorcall_Call as *mut c_void),
        slot(ffi::Py_tp_dealloc, dealloc as *mut c_void),
        slot(ffi::Py_tp_traverse, traverse as *mut c_void),
        slot(ffi::Py_tp_clear, clear as *mut c_void),
        slot(ffi::Py_tp_members, members.leak().as_mut_ptr().cast()),
        slot(0, null_mut()),
    ];
    let flags = flags | ffi::Py_TPFLAGS_HAVE_GC | HAVE_VECTORCALL;
    create_type(
        py,
        &BOUND,
        c"allcores._allcores.bound_special_method",
        size_of::<Bound>(),
        flags,
        &mut slots,
    )
}

fn create_type(
    py: Python<'_>,
    cell: &TypeCell,
    name: &'static CStr,
    size: usize,
    flags: std::ffi::c_ulong,
    slots: &mut [ffi::PyType_Slot],
) -> PyResult<()> {
    let mut spec = ffi::PyType_Spec {
        name: name.as_ptr(),
        basicsize: size as c_int,
        itemsize: 0,
        flags: flags as std::ffi::c_uint,
        slots: slots.as_mut_ptr(),
    };
    // SAFETY: a complete description, whose tables outlive the type. The reference stays in the cell.
    let made = unsafe { pyo3::Bound::from_owned_ptr_or_err(py, ffi::PyType_FromSpec(&mut spec))? };
    cell.set(made.into_ptr().cast::<PyTypeObject>());
    Ok(())
}
