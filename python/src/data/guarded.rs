//! Numbers in shared memory, read and written under their lock in one step.
//!
//! `Value(...).value` and `Array(...)[i]` are called so often that a Python function, which takes the lock, reads and
//! releases, costs several times as much as what it does. Here is the case that nearly all calls are: an RLock of ours that is
//! free, or the caller's already, and an ordinary number. Everything else (somebody else has the lock, it is another
//! kind of lock, the element is no plain number, the key is a slice) is left to a method of the Python class, whose name
//! ends in `_slowly`.

use std::ffi::{CStr, c_int, c_void};
use std::ptr::null_mut;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, Ordering::Relaxed};

use allcores::multiprocessing::RLock;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

use super::block::{Block, Memory};
use crate::forks::Filled;
use crate::raw::{self, Object, Raw, TypeCell, calls, method, none, slowly};
use crate::shared::semlock;

/// What an element is, by ctypes' letters: letter, size, and how it becomes an object.
#[derive(Clone, Copy)]
enum Number {
    I8,
    U8,
    I16,
    U16,
    I32,
    U32,
    I64,
    U64,
    F32,
    F64,
}

impl Number {
    fn of(letter: char) -> Option<Number> {
        Some(match letter {
            'b' => Number::I8,
            'B' => Number::U8,
            'h' => Number::I16,
            'H' => Number::U16,
            'i' => Number::I32,
            'I' => Number::U32,
            'l' | 'q' => Number::I64,
            'L' | 'Q' => Number::U64,
            'f' => Number::F32,
            'd' => Number::F64,
            _ => return None,
        })
    }

    fn size(self) -> usize {
        match self {
            Number::I8 | Number::U8 => 1,
            Number::I16 | Number::U16 => 2,
            Number::I32 | Number::U32 | Number::F32 => 4,
            Number::I64 | Number::U64 | Number::F64 => 8,
        }
    }

    fn is_float(self) -> bool {
        matches!(self, Number::F32 | Number::F64)
    }

    /// # Safety
    /// `place` must be that of such a number, aligned.
    #[inline]
    unsafe fn read(self, place: *const u8) -> Read {
        // Volatile: others may not keep to the lock.
        // SAFETY: the caller's word.
        unsafe {
            match self {
                Number::I8 => Read::Signed(place.cast::<i8>().read_volatile().into()),
                Number::U8 => Read::Unsigned(place.read_volatile().into()),
                Number::I16 => Read::Signed(place.cast::<i16>().read_volatile().into()),
                Number::U16 => Read::Unsigned(place.cast::<u16>().read_volatile().into()),
                Number::I32 => Read::Signed(place.cast::<i32>().read_volatile().into()),
                Number::U32 => Read::Unsigned(place.cast::<u32>().read_volatile().into()),
                Number::I64 => Read::Signed(place.cast::<i64>().read_volatile()),
                Number::U64 => Read::Unsigned(place.cast::<u64>().read_volatile()),
                Number::F32 => Read::Float(place.cast::<f32>().read_volatile().into()),
                Number::F64 => Read::Float(place.cast::<f64>().read_volatile()),
            }
        }
    }

    /// The bits to write for an object, as ctypes has it: integers are cut to size. None if ctypes is to judge.
    ///
    /// # Safety
    /// Attached; the object is live.
    #[inline]
    unsafe fn bits(self, value: *mut PyObject) -> Option<u64> {
        // SAFETY: the caller's word. Neither call runs Python code: the type was checked.
        unsafe {
            if self.is_float() {
                if ffi::PyFloat_Check(value) == 0 {
                    return None;
                }
                let number = ffi::PyFloat_AsDouble(value);
                return Some(match self {
                    // What overflows a float is an error in later versions.
                    Number::F32 => {
                        let short = number as f32;
                        if short.is_infinite() && number.is_finite() {
                            return None;
                        }
                        short.to_bits().into()
                    }
                    _ => number.to_bits(),
                });
            }
            (ffi::PyLong_Check(value) != 0).then(|| ffi::PyLong_AsUnsignedLongLongMask(value))
        }
    }

    /// # Safety
    /// As for `read`.
    #[inline]
    unsafe fn write(self, place: *mut u8, bits: u64) {
        // SAFETY: the caller's word.
        unsafe {
            match self.size() {
                1 => place.write_volatile(bits as u8),
                2 => place.cast::<u16>().write_volatile(bits as u16),
                4 => place.cast::<u32>().write_volatile(bits as u32),
                _ => place.cast::<u64>().write_volatile(bits),
            }
        }
    }
}

enum Read {
    Signed(i64),
    Unsigned(u64),
    Float(f64),
}

impl Read {
    #[inline]
    fn object(self) -> *mut PyObject {
        // SAFETY: attached, as every method is.
        unsafe {
            match self {
                Read::Signed(number) => ffi::PyLong_FromLongLong(number),
                Read::Unsigned(number) => ffi::PyLong_FromUnsignedLongLong(number),
                Read::Float(number) => ffi::PyFloat_FromDouble(number),
            }
        }
    }
}

/// The numbers and their lock.
struct Numbers {
    lock: RLock,
    memory: Arc<Memory>,
    number: Number,
    count: usize,
}

impl Numbers {
    /// Does it with the lock held, if that needs no waiting.
    #[inline]
    fn held<R>(&self, work: impl FnOnce() -> R) -> Option<R> {
        let (words, scope) = self.lock.words();
        let me = scope.known_and_thread();
        if me != 0 && words.take_free(me) {
            let done = work();
            let _ = self.lock.release();
            return Some(done);
        }
        self.lock.is_mine().then(work)
    }

    #[inline]
    fn place(&self, index: usize) -> *mut u8 {
        debug_assert!(index < self.count);
        // SAFETY: `Numbers::new` saw to it that so many numbers lie there.
        unsafe { self.memory.start().add(index * self.number.size()) }
    }

    #[inline]
    fn get(&self, index: usize) -> Option<Read> {
        // SAFETY: a number that there is; blocks are aligned to more than its size.
        self.held(|| unsafe { self.number.read(self.place(index)) })
    }

    /// # Safety
    /// Attached; the object is live.
    #[inline]
    unsafe fn set(&self, index: usize, value: *mut PyObject) -> Option<()> {
        // SAFETY: the caller's word.
        let bits = unsafe { self.number.bits(value) }?;
        // SAFETY: as in `get`.
        self.held(|| unsafe { self.number.write(self.place(index), bits) })
    }

    /// The index that a key is, if it is one.
    ///
    /// # Safety
    /// Attached; the key is live.
    #[inline]
    unsafe fn index(&self, key: *mut PyObject) -> Option<usize> {
        // SAFETY: the caller's word.
        let index = unsafe {
            if ffi::PyLong_Check(key) == 0 {
                return None;
            }
            let index = ffi::PyLong_AsSsize_t(key);
            if index == -1 && !ffi::PyErr_Occurred().is_null() {
                ffi::PyErr_Clear();
                return None;
            }
            index
        };
        let index = match index {
            ..0 => index + self.count as isize,
            _ => index,
        };
        usize::try_from(index).ok().filter(|at| *at < self.count)
    }
}

/// What both types hold: nothing until `_guard` was called, and then for good.
#[derive(Default)]
struct Guarded(Filled<Numbers>);

impl Guarded {
    /// `_guard(lock, block, letter, count)`.
    fn guard(&self, args: &Bound<'_, PyTuple>) -> PyResult<()> {
        let (lock, block, letter, count) =
            args.extract::<(Bound<'_, PyAny>, Bound<'_, Block>, char, usize)>()?;
        let (Some(lock), Some(number)) = (semlock::rlock(&lock)?, Number::of(letter)) else {
            return Ok(());
        };
        let memory = Arc::clone(block.get().memory());
        if count.saturating_mul(number.size()) > memory.size() {
            return Err(PyValueError::new_err("the block is too small for that"));
        }
        let numbers = Numbers {
            lock,
            memory,
            number,
            count,
        };
        self.0
            .set(numbers)
            .map_err(|_| PyRuntimeError::new_err("it is guarded already"))
    }
}

/// The base of `Synchronized`.
#[derive(Default)]
struct GuardedValue(Guarded);

/// The base of `SynchronizedArray`.
#[derive(Default)]
struct GuardedArray(Guarded);

static VALUE: TypeCell = TypeCell::new();
static ARRAY: TypeCell = TypeCell::new();

/// Names of methods, made once: they live as long as the process.
static NAMES: [AtomicPtr<PyObject>; 4] = [const { AtomicPtr::new(null_mut()) }; 4];
const GET_SLOWLY: usize = 0;
const SET_SLOWLY: usize = 1;
const ITEM_SLOWLY: usize = 2;
const SET_ITEM_SLOWLY: usize = 3;

fn name(which: usize) -> *mut PyObject {
    NAMES[which].load(Relaxed)
}

/// An outcome without a value, as slots return it.
fn done(result: *mut PyObject) -> c_int {
    if result.is_null() {
        return -1;
    }
    // SAFETY: our reference.
    unsafe { calls::Py_DecRef(result) };
    0
}

unsafe extern "C-unwind" fn get_value(object: *mut PyObject, _: *mut c_void) -> *mut PyObject {
    // SAFETY: the interpreter calls this for instances. Nothing with a destructor is held while Python code runs.
    unsafe {
        let this = Object::<GuardedValue>::of(object);
        if let Some(numbers) = this.value.0.0.get()
            && let Some(read) = numbers.get(0)
        {
            return read.object();
        }
        calls::PyObject_CallMethodObjArgs(object, name(GET_SLOWLY), null_mut::<PyObject>())
    }
}

unsafe extern "C-unwind" fn set_value(
    object: *mut PyObject,
    value: *mut PyObject,
    _: *mut c_void,
) -> c_int {
    // SAFETY: as for `get_value`; null stands for `del`.
    unsafe {
        let this = Object::<GuardedValue>::of(object);
        if value.is_null() {
            return done(raw::raise(pyo3::exceptions::PyAttributeError::new_err(
                "can't delete attribute",
            )));
        }
        if let Some(numbers) = this.value.0.0.get()
            && let Some(()) = numbers.set(0, value)
        {
            return 0;
        }
        done(calls::PyObject_CallMethodObjArgs(
            object,
            name(SET_SLOWLY),
            value,
            null_mut::<PyObject>(),
        ))
    }
}

unsafe extern "C-unwind" fn get_item(object: *mut PyObject, key: *mut PyObject) -> *mut PyObject {
    // SAFETY: as for `get_value`.
    unsafe {
        let this = Object::<GuardedArray>::of(object);
        if let Some(numbers) = this.value.0.0.get()
            && let Some(index) = numbers.index(key)
            && let Some(read) = numbers.get(index)
        {
            return read.object();
        }
        calls::PyObject_CallMethodObjArgs(object, name(ITEM_SLOWLY), key, null_mut::<PyObject>())
    }
}

unsafe extern "C-unwind" fn set_item(
    object: *mut PyObject,
    key: *mut PyObject,
    value: *mut PyObject,
) -> c_int {
    // SAFETY: as for `get_value`; null stands for `del`.
    unsafe {
        let this = Object::<GuardedArray>::of(object);
        if value.is_null() {
            return done(raw::raise(pyo3::exceptions::PyTypeError::new_err(
                "Array does not support item deletion",
            )));
        }
        if let Some(numbers) = this.value.0.0.get()
            && let Some(index) = numbers.index(key)
            && let Some(()) = numbers.set(index, value)
        {
            return 0;
        }
        done(calls::PyObject_CallMethodObjArgs(
            object,
            name(SET_ITEM_SLOWLY),
            key,
            value,
            null_mut::<PyObject>(),
        ))
    }
}

const GUARD: &str = "_guard($self, what, /)\n--\n\n\
    Take the short way for (lock, block, ctypes' letter, number of elements), if there is one for them.";

fn guard_by(guarded: &Guarded, what: *mut PyObject) -> *mut PyObject {
    slowly(|py| {
        // SAFETY: an argument of the running call.
        let what = unsafe { Bound::from_borrowed_ptr(py, what) };
        guarded.guard(what.cast::<PyTuple>()?)?;
        Ok(none())
    })
}

fn guard_value(this: &Object<GuardedValue>, what: *mut PyObject) -> *mut PyObject {
    guard_by(&this.value.0, what)
}

fn guard_array(this: &Object<GuardedArray>, what: *mut PyObject) -> *mut PyObject {
    guard_by(&this.value.0, what)
}

fn slot(slot: c_int, function: *mut c_void) -> ffi::PyType_Slot {
    ffi::PyType_Slot {
        slot,
        pfunc: function,
    }
}

impl Raw for GuardedValue {
    const NAME: &'static CStr = c"allcores._allcores.GuardedValue";
    const DOC: &'static CStr = c"What a Synchronized stands on: a number and its lock.";
    const SUBCLASS: bool = true;

    fn cell() -> &'static TypeCell {
        &VALUE
    }

    fn new(_: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>) -> PyResult<GuardedValue> {
        Ok(GuardedValue::default())
    }

    fn methods() -> Vec<ffi::PyMethodDef> {
        vec![method!(GuardedValue, "_guard", one, guard_value, GUARD)]
    }

    fn properties() -> Vec<ffi::PyGetSetDef> {
        // SAFETY: the same functions, but for whether they may unwind, which a caller in C does not know.
        let (get, set) = unsafe {
            (
                std::mem::transmute::<*mut c_void, ffi::getter>(get_value as *mut c_void),
                std::mem::transmute::<*mut c_void, ffi::setter>(set_value as *mut c_void),
            )
        };
        vec![ffi::PyGetSetDef {
            name: c"value".as_ptr(),
            get: Some(get),
            set: Some(set),
            doc: c"The value; the lock is held while it is read or written.".as_ptr(),
            ..Default::default()
        }]
    }
}

impl Raw for GuardedArray {
    const NAME: &'static CStr = c"allcores._allcores.GuardedArray";
    const DOC: &'static CStr = c"What a SynchronizedArray stands on: numbers and their lock.";
    const SUBCLASS: bool = true;

    fn cell() -> &'static TypeCell {
        &ARRAY
    }

    fn new(_: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>) -> PyResult<GuardedArray> {
        Ok(GuardedArray::default())
    }

    fn methods() -> Vec<ffi::PyMethodDef> {
        vec![method!(GuardedArray, "_guard", one, guard_array, GUARD)]
    }

    fn slots() -> Vec<ffi::PyType_Slot> {
        vec![
            slot(ffi::Py_mp_subscript, get_item as *mut c_void),
            slot(ffi::Py_mp_ass_subscript, set_item as *mut c_void),
        ]
    }
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let names = [
        "_get_slowly",
        "_set_slowly",
        "_item_slowly",
        "_set_item_slowly",
    ];
    for (place, name) in NAMES.iter().zip(names) {
        place.store(PyString::intern(py, name).into_ptr(), Relaxed);
    }
    raw::create::<GuardedValue>(module)?;
    raw::create::<GuardedArray>(module)
}
