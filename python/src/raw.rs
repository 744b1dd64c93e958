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
//!   [`none`], [`boolean`], [`returned`] and [`raise`] make those. The macro [`method!`](crate::raw::method) puts the C
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

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::mem::offset_of;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicPtr, Ordering::*};

use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::ffi::{self, PyObject, PyTypeObject};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple, PyType};

pub(crate) mod special;

/// Functions of the C API that may run Python code, hence unwind.
pub(crate) mod calls {
    use super::PyObject;

    unsafe extern "C-unwind" {
        /// `callable(*args)`: the arguments are references, the last one null.
        #[allow(dead_code)]
        pub(crate) fn PyObject_CallFunctionObjArgs(callable: *mut PyObject, ...) -> *mut PyObject;
        /// `object.name(*args)`: the arguments are references, the last one null.
        #[allow(dead_code)]
        pub(crate) fn PyObject_CallMethodObjArgs(
            object: *mut PyObject,
            name: *mut PyObject,
            ...
        ) -> *mut PyObject;
        /// Whether `object` is true: 1, 0, or -1 with an exception set.
        pub(crate) fn PyObject_IsTrue(object: *mut PyObject) -> std::ffi::c_int;
        /// `callable(*args, **kwargs)`: a tuple, and a dict or null.
        pub(super) fn PyObject_Call(
            callable: *mut PyObject,
            args: *mut PyObject,
            kwargs: *mut PyObject,
        ) -> *mut PyObject;
        /// The `tp_call` of a type whose objects have a vectorcall.
        pub(super) fn PyVectorcall_Call(
            callable: *mut PyObject,
            args: *mut PyObject,
            kwargs: *mut PyObject,
        ) -> *mut PyObject;
        /// Gives a reference back; null is nothing.
        pub(crate) fn Py_DecRef(object: *mut PyObject);
        pub(super) fn PyObject_ClearWeakRefs(object: *mut PyObject);
    }
}

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
    #[allow(dead_code)]
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
        special::add(&made, T::cell(), definition)?;
    }
    module.add(name.rsplit('.').next().unwrap_or(name), &made)?;
    // One reference stays for the cell.
    std::mem::forget(made);
    Ok(())
}

/// A new object around a value, made by Rust code.
#[allow(dead_code)]
pub(crate) fn object<'py, T: Raw>(py: Python<'py>, value: T) -> PyResult<Bound<'py, PyAny>> {
    let kind = T::cell().get();
    if kind.is_null() {
        return Err(PyRuntimeError::new_err("the type has not been made yet"));
    }
    // SAFETY: the type that `create` made.
    unsafe { Bound::from_owned_ptr_or_err(py, allocate(kind, value)) }
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

/// None, as a method returns it.
#[inline]
pub(crate) fn none() -> *mut PyObject {
    // SAFETY: None lives for ever.
    unsafe { ffi::Py_NewRef(ffi::Py_None()) }
}

/// True or False, as a method returns it.
#[inline]
pub(crate) fn boolean(value: bool) -> *mut PyObject {
    // SAFETY: both live for ever.
    unsafe {
        ffi::Py_NewRef(match value {
            true => ffi::Py_True(),
            false => ffi::Py_False(),
        })
    }
}

/// An int, as a method returns it.
#[allow(dead_code)]
pub(crate) fn int(value: u64) -> *mut PyObject {
    // SAFETY: attached, as every method is.
    unsafe { ffi::PyLong_FromUnsignedLongLong(value) }
}

/// Sets the exception; the null that says so.
#[cold]
pub(crate) fn raise(error: PyErr) -> *mut PyObject {
    // SAFETY: attached, as every method is.
    error.restore(unsafe { Python::assume_attached() });
    null_mut()
}

/// A result as a method returns it.
pub(crate) fn returned(result: PyResult<*mut PyObject>) -> *mut PyObject {
    result.unwrap_or_else(raise)
}

/// Runs what needs more than the bare interface: `?`, conversions, blocking. Panics become exceptions.
#[inline(never)]
pub(crate) fn slowly(body: impl FnOnce(Python<'_>) -> PyResult<*mut PyObject>) -> *mut PyObject {
    // SAFETY: attached, as every method is; nothing made here outlives the call.
    let py = unsafe { Python::assume_attached() };
    match catch_unwind(AssertUnwindSafe(|| body(py))) {
        Ok(result) => returned(result),
        Err(payload) => {
            let said = payload
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| payload.downcast_ref::<&str>().copied());
            raise(pyo3::panic::PanicException::new_err(
                said.unwrap_or("panic from Rust code").to_owned(),
            ))
        }
    }
}

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
    #[allow(dead_code)]
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
#[allow(unused_macros)]
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
#[allow(unused_imports)]
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

/// The text with a zero at its end, for ever: types are made once.
fn lasting(text: &str) -> *const c_char {
    let text = std::ffi::CString::new(text).expect("a text without zeros");
    text.into_raw().cast_const()
}
