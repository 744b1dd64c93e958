//! The methods of `_allcores.SemLock`.

use std::ffi::CStr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{null, null_mut};

use allcores::sync::{Deadline, Scope};
use pyo3::IntoPyObjectExt;
use pyo3::exceptions::PyTypeError;
use pyo3::ffi::{self, PyObject};
use pyo3::panic::PanicException;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::super::arena;
use super::Object;
use super::core::{Core, Quick, RECURSIVE_MUTEX, SEMAPHORE};
use crate::block;

/// The rest of a method, which may wait, raise, or panic.
///
/// # Safety
/// The calling thread must be attached to the interpreter.
#[cold]
unsafe fn slowly(work: impl FnOnce(Python<'_>) -> PyResult<Py<PyAny>>) -> *mut PyObject {
    // SAFETY: the caller's word.
    let py = unsafe { Python::assume_attached() };
    let error = match catch_unwind(AssertUnwindSafe(|| work(py))) {
        Ok(Ok(value)) => return value.into_ptr(),
        Ok(Err(error)) => error,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            PanicException::new_err(text.unwrap_or("panic").to_owned())
        }
    };
    error.restore(py);
    null_mut()
}

fn value<'py, T: IntoPyObject<'py>>(py: Python<'py>, value: T) -> PyResult<Py<PyAny>> {
    value.into_py_any(py)
}

#[inline]
unsafe fn new_true() -> *mut PyObject {
    // SAFETY: a static object.
    unsafe { ffi::Py_NewRef(ffi::Py_True()) }
}

unsafe extern "C" fn acquire(
    object: *mut PyObject,
    args: *const *mut PyObject,
    count: ffi::Py_ssize_t,
    names: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: called by the interpreter on an instance.
    let this = unsafe { Object::at(object) };
    if let Some(core) = this.core.get()
        && count == 0
        && names.is_null()
        && let Quick::Done = core.take_quickly(&this.notes)
    {
        // SAFETY: attached, as every method is.
        return unsafe { new_true() };
    }
    // SAFETY: as above; the interpreter passes that many arguments.
    unsafe {
        slowly(|py| {
            let deadline = until_when(py, args, count, names)?;
            value(py, this.core()?.acquire(py, &this.notes, deadline)?)
        })
    }
}

/// The deadline that `acquire(block=True, timeout=None)` stands for.
///
/// # Safety
/// `args` must hold `count` objects, and one for each of `names`.
unsafe fn until_when(
    py: Python<'_>,
    args: *const *mut PyObject,
    count: ffi::Py_ssize_t,
    names: *mut PyObject,
) -> PyResult<Deadline> {
    let given = |place: isize| {
        // SAFETY: the caller's word.
        unsafe { Bound::from_borrowed_ptr(py, *args.offset(place)) }
    };
    if count > 2 {
        return Err(PyTypeError::new_err(format!(
            "acquire() takes at most 2 arguments ({count} given)"
        )));
    }
    let mut block = (count > 0).then(|| given(0));
    let mut timeout = (count > 1).then(|| given(1));
    if !names.is_null() {
        // SAFETY: a tuple of names, in the order of the further arguments.
        let names = unsafe { Bound::from_borrowed_ptr(py, names) };
        for (place, name) in names.try_iter()?.enumerate() {
            let name = name?.extract::<String>()?;
            let target = match name.as_str() {
                "block" => &mut block,
                "timeout" => &mut timeout,
                _ => {
                    return Err(PyTypeError::new_err(format!(
                        "acquire() got an unexpected keyword argument '{name}'"
                    )));
                }
            };
            if target.replace(given(count + place as isize)).is_some() {
                return Err(PyTypeError::new_err(format!(
                    "argument for acquire() given by name ('{name}') and position"
                )));
            }
        }
    }
    if let Some(block) = block
        && !block.is_truthy()?
    {
        return Ok(Deadline::NOW);
    }
    match timeout {
        None => Ok(Deadline::NEVER),
        Some(timeout) => block::lenient_deadline(timeout.extract()?),
    }
}

unsafe extern "C" fn enter(object: *mut PyObject, _: *mut PyObject) -> *mut PyObject {
    // SAFETY: as for `acquire`, without arguments.
    unsafe { acquire(object, null(), 0, null_mut()) }
}

unsafe extern "C" fn release(object: *mut PyObject, _: *mut PyObject) -> *mut PyObject {
    // SAFETY: called by the interpreter on an instance, attached.
    unsafe {
        match Object::at(object).release() {
            Ok(()) => ffi::Py_NewRef(ffi::Py_None()),
            Err(refusal) => slowly(|_| Err(refusal.into())),
        }
    }
}

unsafe extern "C" fn exit(
    object: *mut PyObject,
    _: *mut *mut PyObject,
    _: ffi::Py_ssize_t,
) -> *mut PyObject {
    // SAFETY: as for `release`.
    unsafe { release(object, null_mut()) }
}

/// A method without arguments that looks at the instance.
macro_rules! looks {
    ($($name:ident($this:ident, $py:ident) $body:expr)*) => {
        $(unsafe extern "C" fn $name(object: *mut PyObject, _: *mut PyObject) -> *mut PyObject {
            // SAFETY: called by the interpreter on an instance, attached.
            unsafe {
                let $this = Object::at(object);
                slowly(|$py| { $body })
            }
        })*
    };
}

looks! {
    locked(this, py) value(py, this.core()?.value() == 0)
    is_zero(this, py) value(py, this.core()?.value() == 0)
    get_value(this, py) value(py, this.core()?.value())
    is_mine(this, py) value(py, this.core()?.is_mine(&this.notes))
    count(this, py) value(py, this.core()?.count(&this.notes))
    after_fork(_this, py) Ok(py.None())
    release_save(this, py) value(py, this.core()?.release_all(&this.notes)?)
    pack(this, py) value(py, match this.core()? {
        Core::Lock(lock) => arena::pack(py, lock)?,
        Core::RLock(lock) => arena::pack(py, lock)?,
        Core::Semaphore(semaphore) => arena::pack(py, semaphore)?,
        Core::Owned(semaphore, _) => arena::pack(py, semaphore)?,
    })
    get_kind(this, py) value(py, this.core()?.kind())
}

unsafe extern "C" fn acquire_restore(object: *mut PyObject, depth: *mut PyObject) -> *mut PyObject {
    // SAFETY: called by the interpreter on an instance with an object, attached.
    unsafe {
        let this = Object::at(object);
        slowly(|py| {
            let depth = Bound::from_borrowed_ptr(py, depth).extract()?;
            this.core()?.restore(py, &this.notes, depth)?;
            Ok(py.None())
        })
    }
}

unsafe extern "C" fn create(object: *mut PyObject, args: *mut PyObject) -> *mut PyObject {
    // SAFETY: called by the interpreter on an instance with a tuple, attached.
    unsafe {
        let this = Object::at(object);
        slowly(|py| {
            let args = Bound::from_borrowed_ptr(py, args);
            let (kind, value, most) = args.extract::<(u32, i64, i64)>()?;
            let (Ok(value), Ok(most)) = (value.try_into(), most.try_into()) else {
                return Err(super::super::raise::invalid());
            };
            // A second call changes nothing: the first one's is in use.
            let _ = this.core.set(Core::new(kind, value, most)?);
            Ok(py.None())
        })
    }
}

unsafe extern "C" fn open(object: *mut PyObject, args: *mut PyObject) -> *mut PyObject {
    // SAFETY: as for `create`.
    unsafe {
        let this = Object::at(object);
        slowly(|py| {
            let args = Bound::from_borrowed_ptr(py, args);
            let (kind, most, bytes) = args.extract::<(u32, u32, Bound<'_, PyBytes>)>()?;
            let _ = this.core.set(Core::open(kind, most, bytes.as_bytes())?);
            // What it is taken by first is known from here on.
            Scope::PRIVATE.me_and_thread();
            Ok(py.None())
        })
    }
}

macro_rules! attribute {
    ($($name:ident($this:ident, $object:ident, $py:ident) $body:expr)*) => {
        $(unsafe extern "C" fn $name(object: *mut PyObject, _: *mut std::ffi::c_void) -> *mut PyObject {
            // SAFETY: called by the interpreter on an instance, attached.
            unsafe {
                let $this = Object::at(object);
                let $object = object;
                slowly(|$py| { $body })
            }
        })*
    };
}

attribute! {
    semlock(_this, object, py) Ok(Bound::from_borrowed_ptr(py, object).unbind())
    handle(this, _object, py) value(py, this.core()?.address())
    kind(this, _object, py) value(py, if this.core()?.kind() == RECURSIVE_MUTEX { RECURSIVE_MUTEX } else { SEMAPHORE })
    maxvalue(this, _object, py) value(py, this.core()?.most())
    name(_this, _object, py) Ok(py.None())
}

/// The table of methods, made once and kept for ever.
pub(super) fn methods() -> *mut ffi::PyMethodDef {
    let method = |name: &'static CStr, ml_meth, ml_flags, doc: &'static CStr| ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth,
        ml_flags,
        ml_doc: doc.as_ptr(),
    };
    let plain = |name, function, doc| {
        let function = ffi::PyMethodDefPointer {
            PyCFunction: function,
        };
        method(name, function, ffi::METH_NOARGS, doc)
    };
    let with = |name, flags, function, doc| {
        let function = ffi::PyMethodDefPointer {
            PyCFunction: function,
        };
        method(name, function, flags, doc)
    };
    let table = vec![
        method(
            c"acquire",
            ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: acquire },
            ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
            c"acquire($self, /, block=True, timeout=None)\n--\n\nTake it, waiting for that if it must; whether it was taken.",
        ),
        plain(c"release", release, c"release($self, /)\n--\n\nRelease it once."),
        plain(c"__enter__", enter, c"__enter__($self, /)\n--\n\nacquire()."),
        method(
            c"__exit__",
            ffi::PyMethodDefPointer { PyCFunctionFast: exit },
            ffi::METH_FASTCALL,
            c"release().",
        ),
        plain(c"locked", locked, c"locked($self, /)\n--\n\nWhether acquire() would have to wait."),
        plain(c"_is_zero", is_zero, c"_is_zero($self, /)\n--\n\nWhether the value is 0."),
        plain(c"_get_value", get_value, c"_get_value($self, /)\n--\n\nHow often it can be taken now."),
        plain(c"_is_mine", is_mine, c"_is_mine($self, /)\n--\n\nWhether the calling thread holds it."),
        plain(c"_count", count, c"_count($self, /)\n--\n\nHow often this process holds it."),
        plain(c"_after_fork", after_fork, c"_after_fork($self, /)\n--\n\nNothing: the words know whose they are."),
        plain(c"_release_save", release_save, c"_release_save($self, /)\n--\n\nRelease it altogether; how often it was held."),
        plain(c"_pack", pack, c"_pack($self, /)\n--\n\nThe handle as bytes, and the descriptors of its arenas."),
        plain(c"_kind", get_kind, c"_kind($self, /)\n--\n\nOne of four numbers."),
        with(c"_acquire_restore", ffi::METH_O, acquire_restore, c"_acquire_restore($self, depth, /)\n--\n\nTake it so many times: always. What went wrong is raised when it is held."),
        with(c"_create", ffi::METH_VARARGS, create, c"_create($self, kind, value, maxvalue, /)\n--\n\nMake it, in the arena of this process and its children."),
        with(c"_open", ffi::METH_VARARGS, open, c"_open($self, kind, maxvalue, packed, /)\n--\n\nOpen what _pack packed."),
        ffi::PyMethodDef::zeroed(),
    ];
    Box::leak(table.into_boxed_slice()).as_mut_ptr()
}

/// The table of attributes, made once and kept for ever.
pub(super) fn attributes() -> *mut ffi::PyGetSetDef {
    let attribute = |name: &'static CStr, get, doc: &'static CStr| ffi::PyGetSetDef {
        name: name.as_ptr(),
        get: Some(get),
        set: None,
        doc: doc.as_ptr(),
        closure: null_mut(),
    };
    let table = vec![
        attribute(
            c"_semlock",
            semlock as ffi::getter,
            c"Itself: what the stdlib's classes are wrapped around.",
        ),
        attribute(
            c"handle",
            handle as ffi::getter,
            c"A number for it in this process.",
        ),
        attribute(
            c"kind",
            kind as ffi::getter,
            c"RECURSIVE_MUTEX or SEMAPHORE.",
        ),
        attribute(c"maxvalue", maxvalue as ffi::getter, c"The highest value."),
        attribute(
            c"name",
            name as ffi::getter,
            c"None: nothing here has a name.",
        ),
        ffi::PyGetSetDef::default(),
    ];
    Box::leak(table.into_boxed_slice()).as_mut_ptr()
}
