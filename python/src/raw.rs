//! Types written against the C API itself, for what is called so often that a few nanoseconds a call decide.
//!
//! pyo3's classes put a trampoline round each method: it counts attachments, catches panics, borrows, converts. That costs as
//! much again as a lock's own work. Here a method is the C function that the interpreter calls: 2x becomes 3x and more.
//!
//! What is to be known before such a type is written:
//!
//! * **A type** implements [`Raw`] and is made by [`create`]. Its objects are [`Object<T>`]: the head that the interpreter
//!   knows, a list of weak references, and the value. Everything is of the stable ABI from 3.11 on.
//! * **A method** is a plain Rust function of `&Object<T>` that returns a new reference, or null with an exception set:
//!   [`none`], [`boolean`], [`int`] and [`raise`] make those. The macro [`method!`](crate::raw::method) puts the C
//!   function round it. Three kinds: `noargs`, `one` argument, and `many` ([`Args`], METH_FASTCALL with keywords): just those
//!   that the interpreter's specialised instructions call directly.
//! * **What is slow goes through [`slowly`]**: it has a `Python<'_>`, `?`, and panics become Python's PanicException there.
//!   A panic anywhere else would unwind through the interpreter.
//! * **Blocking** is `block.rs` as everywhere, inside `slowly`.
//! * **Python code below one of our frames** can meet `pthread_exit` when the interpreter ends (before 3.14), which unwinds this
//!   stack by force. That is sound as long as no frame of ours has anything to drop or to catch there. Hence
//!   `extern "C-unwind"`, hence [`calls`], which declares the functions that may run Python code as able to unwind, and hence
//!   the rule: a method that calls back does nothing else, owns nothing with a destructor, and is not inside `slowly`.
//! * **Who holds Python objects** sets [`Raw::CYCLES`], and implements [`Raw::visit`] and [`Raw::clear`].
//! * pyo3 does not know that it is attached here, so that dropping a `Py<T>` would postpone the release of the object until
//!   the next time that pyo3 attaches. Keep raw pointers or `Bound`s.

use std::ffi::{CStr, c_int};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering::Relaxed};

use pyo3::ffi::{self, PyObject, PyTypeObject};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

mod args;
pub(crate) mod calls;
mod kind;
mod methods;
mod results;
pub(crate) mod special;

pub(crate) use args::{Args, Names};
pub(crate) use kind::create;
pub(crate) use methods::{add, entry, lasting, method, own, property, special_method};
pub(crate) use results::{boolean, int, none, raise, slowly};

/// Where the type made from a [`Raw`] is kept: one static each.
pub(crate) struct TypeCell(AtomicPtr<PyTypeObject>);

impl TypeCell {
    /// Before [`create`].
    pub(crate) const fn new() -> TypeCell {
        TypeCell(AtomicPtr::new(null_mut()))
    }

    /// Whether `object` is exactly of this type: a subclass may have overridden anything.
    #[inline]
    pub(crate) fn is_type_of(&self, object: *mut PyObject) -> bool {
        // SAFETY: the callers pass live objects.
        unsafe { ffi::Py_TYPE(object) == self.0.load(Relaxed) }
    }

    fn set(&self, kind: *mut PyTypeObject) {
        self.0.store(kind, Relaxed);
    }

    /// The type, borrowed: it lives as long as the interpreter.
    #[inline]
    pub(crate) fn get(&self) -> *mut PyTypeObject {
        self.0.load(Relaxed)
    }
}

/// An object as the interpreter sees it.
#[repr(C)]
pub(crate) struct Object<T> {
    head: PyObject,
    weakrefs: *mut PyObject,
    /// What it is about.
    pub(crate) value: T,
}

impl<T: Raw> Object<T> {
    /// The object of a pointer that the interpreter has checked: the `self` of a method.
    ///
    /// # Safety
    /// `object` must be an instance of T's type, or of a subclass, and live as long as `'a`.
    #[inline]
    pub(crate) unsafe fn of<'a>(object: *mut PyObject) -> &'a Object<T> {
        // SAFETY: as the caller promises; the value is only ever handed out as shared.
        unsafe { &*object.cast::<Object<T>>() }
    }

    /// For the C API.
    #[inline]
    pub(crate) fn as_ptr(&self) -> *mut PyObject {
        std::ptr::from_ref(self).cast_mut().cast()
    }

    /// `module.Name` of the object's type, as reprs have it.
    pub(crate) fn type_name(&self, py: Python<'_>) -> PyResult<String> {
        // SAFETY: a live object.
        let me = unsafe { Borrowed::from_ptr(py, self.as_ptr()) };
        Ok(me.get_type().fully_qualified_name()?.to_string())
    }

    /// `object at 0x…`.
    pub(crate) fn place(&self) -> String {
        format!("object at {:p}", self.as_ptr())
    }
}

/// A Python type with a Rust value in its objects.
pub(crate) trait Raw: Send + Sync + Sized + 'static {
    /// `module.Name`.
    const NAME: &'static CStr;
    /// Its docstring; may begin with a signature: `Name(a, /)\n--\n\n…`.
    const DOC: &'static CStr;
    /// Whether Python code may derive from it.
    const SUBCLASS: bool = false;
    /// Whether the arguments are of no concern to the constructor where a subclass has an `__init__` of its own.
    const INIT: bool = false;
    /// Whether it holds Python objects.
    const CYCLES: bool = false;

    /// Where its type is kept.
    fn cell() -> &'static TypeCell;

    /// The value of a new object, from the arguments of the constructor.
    fn new(args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> PyResult<Self>;

    /// Says what is wrong with the arguments of the constructor, though they are taken; not asked for a subclass's.
    fn deprecated(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> PyResult<()> {
        Ok(())
    }

    /// Its methods, by [`method!`](crate::raw::method).
    fn methods() -> Vec<ffi::PyMethodDef>;

    /// What `with` calls, by [`special!`](crate::raw::special).
    fn specials() -> Vec<special::Definition> {
        Vec::new()
    }

    /// Its properties, by [`property!`](crate::raw::property).
    fn properties() -> Vec<ffi::PyGetSetDef> {
        Vec::new()
    }

    /// Further slots of the type: what Python spells as `object[key]`, for example.
    fn slots() -> Vec<ffi::PyType_Slot> {
        Vec::new()
    }

    /// `repr(object)`.
    fn repr(this: &Object<Self>, py: Python<'_>) -> PyResult<String> {
        Ok(format!("<{} {}>", this.type_name(py)?, this.place()))
    }

    /// Shows each Python object that it holds.
    fn visit(&self, _visit: &mut dyn FnMut(*mut PyObject) -> c_int) -> c_int {
        0
    }

    /// Lets go of those objects. Called with the interpreter, once the object is part of a garbage cycle, or at its end.
    fn clear(&self) {}
}
