//! From a pickle to its object, if it is a plain one.
//!
//! The bytes may be anybody's: whatever is not expected ends the attempt, and `_pickle.loads` has the word. No Python code
//! runs here but what the garbage collector may find to do when a container is made; hence nothing here has a destructor.

use std::mem::MaybeUninit;

use pyo3::ffi::{self, PyObject};

use super::op;
use crate::raw::calls;

/// How many objects may wait for their container, and how many may be remembered.
const MOST: usize = 64;
const MARKS: usize = 8;

/// References that are ours, a few.
struct Held {
    list: [MaybeUninit<*mut PyObject>; MOST],
    length: usize,
}

impl Held {
    #[inline]
    fn new() -> Held {
        Held {
            list: [MaybeUninit::uninit(); MOST],
            length: 0,
        }
    }

    #[inline]
    fn get(&self, at: usize) -> Option<*mut PyObject> {
        // SAFETY: what lies below the length has been written.
        (at < self.length).then(|| unsafe { self.list[at].assume_init() })
    }

    #[inline]
    fn last(&self) -> Option<*mut PyObject> {
        self.get(self.length.checked_sub(1)?)
    }

    /// Takes the reference, also if there is no room for it.
    #[inline]
    fn push(&mut self, object: *mut PyObject) -> Option<()> {
        if object.is_null() {
            // SAFETY: attached; whoever comes next finds out what it was.
            unsafe { ffi::PyErr_Clear() };
            return None;
        }
        match self.list.get_mut(self.length) {
            Some(place) => {
                place.write(object);
                self.length += 1;
                Some(())
            }
            None => {
                // SAFETY: it was given to us.
                unsafe { ffi::Py_DECREF(object) };
                None
            }
        }
    }

    /// Gives back all references from `from` on.
    #[inline]
    fn cut(&mut self, from: usize) {
        while self.length > from {
            self.length -= 1;
            // SAFETY: it has been written, and is ours.
            unsafe { ffi::Py_DECREF(self.list[self.length].assume_init()) };
        }
    }
}

/// The object, a new reference; `None` if it is not for us to make.
#[inline]
pub(super) fn plain(pickle: &[u8]) -> Option<*mut PyObject> {
    let (mut stack, mut memo) = (Held::new(), Held::new());
    let made = run(pickle, &mut stack, &mut memo);
    memo.cut(0);
    stack.cut(0);
    made
}

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    #[inline]
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    #[inline]
    fn number<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    #[inline]
    fn short(&mut self) -> Option<&'a [u8]> {
        let [length] = self.number()?;
        self.take(length.into())
    }

    #[inline]
    fn long(&mut self) -> Option<&'a [u8]> {
        let length = u32::from_le_bytes(self.number()?);
        self.take(length as usize)
    }
}

fn run(pickle: &[u8], stack: &mut Held, memo: &mut Held) -> Option<*mut PyObject> {
    let mut bytes = Bytes(pickle);
    let mut marks = [0; MARKS];
    let mut marked = 0;
    // What lies under the last mark is not to be touched.
    let mut floor = 0;
    let [op::PROTO, 4..=5] = bytes.number()? else {
        return None;
    };
    loop {
        let [next] = bytes.number()?;
        // SAFETY: attached, as the callers are; each new reference goes to the stack, and only objects are used that are there or
        // in the memo. Containers are made by us, of exactly these types, and known to nobody else.
        unsafe {
            match next {
                op::FRAME => {
                    // Where it ends is of no concern to whoever has all the bytes.
                    let length = u64::from_le_bytes(bytes.number()?);
                    if length > bytes.0.len() as u64 {
                        return None;
                    }
                }
                op::STOP => {
                    if !(stack.length == 1 && marked == 0) {
                        return None;
                    }
                    return stack.last().map(|object| ffi::Py_NewRef(object));
                }
                op::NONE => stack.push(ffi::Py_NewRef(ffi::Py_None()))?,
                op::NEWTRUE => stack.push(ffi::Py_NewRef(ffi::Py_True()))?,
                op::NEWFALSE => stack.push(ffi::Py_NewRef(ffi::Py_False()))?,
                op::BININT1 => {
                    let [byte] = bytes.number()?;
                    stack.push(ffi::PyLong_FromLong(byte.into()))?;
                }
                op::BININT2 => {
                    let two = u16::from_le_bytes(bytes.number()?);
                    stack.push(ffi::PyLong_FromLong(two.into()))?;
                }
                op::BININT => {
                    let four = i32::from_le_bytes(bytes.number()?);
                    stack.push(ffi::PyLong_FromLong(four.into()))?;
                }
                op::LONG1 => {
                    let digits = bytes.short()?;
                    if digits.len() > 8 {
                        return None;
                    }
                    let sign = digits.last().is_some_and(|last| last & 0x80 != 0);
                    let mut all = [if sign { 0xff } else { 0 }; 8];
                    all[..digits.len()].copy_from_slice(digits);
                    stack.push(ffi::PyLong_FromLongLong(i64::from_le_bytes(all)))?;
                }
                op::BINFLOAT => {
                    let float = f64::from_be_bytes(bytes.number()?);
                    stack.push(ffi::PyFloat_FromDouble(float))?;
                }
                op::SHORT_BINUNICODE | op::BINUNICODE => {
                    let text = match next {
                        op::SHORT_BINUNICODE => bytes.short()?,
                        _ => bytes.long()?,
                    };
                    let (start, length) = (text.as_ptr().cast(), text.len() as ffi::Py_ssize_t);
                    stack.push(ffi::PyUnicode_FromStringAndSize(start, length))?;
                }
                op::SHORT_BINBYTES | op::BINBYTES => {
                    let run = match next {
                        op::SHORT_BINBYTES => bytes.short()?,
                        _ => bytes.long()?,
                    };
                    let (start, length) = (run.as_ptr().cast(), run.len() as ffi::Py_ssize_t);
                    stack.push(ffi::PyBytes_FromStringAndSize(start, length))?;
                }
                op::EMPTY_TUPLE => stack.push(calls::PyTuple_New(0))?,
                op::TUPLE1 => tuple(stack, stack.length.checked_sub(1)?, floor)?,
                op::TUPLE2 => tuple(stack, stack.length.checked_sub(2)?, floor)?,
                op::TUPLE3 => tuple(stack, stack.length.checked_sub(3)?, floor)?,
                op::EMPTY_LIST => stack.push(calls::PyList_New(0))?,
                op::EMPTY_DICT => stack.push(calls::PyDict_New())?,
                op::MARK => {
                    *marks.get_mut(marked)? = floor;
                    marked += 1;
                    floor = stack.length;
                }
                op::TUPLE | op::APPENDS | op::SETITEMS => {
                    marked = marked.checked_sub(1)?;
                    let from = std::mem::replace(&mut floor, marks[marked]);
                    match next {
                        op::TUPLE => tuple(stack, from, from)?,
                        op::APPENDS => append(stack, from, floor)?,
                        _ => set_items(stack, from, floor)?,
                    }
                }
                op::APPEND => append(stack, stack.length.checked_sub(1)?, floor)?,
                op::SETITEM => set_items(stack, stack.length.checked_sub(2)?, floor)?,
                op::MEMOIZE => {
                    if stack.length <= floor {
                        return None;
                    }
                    memo.push(ffi::Py_NewRef(stack.last()?))?;
                }
                op::BINGET => {
                    let [at] = bytes.number()?;
                    stack.push(ffi::Py_NewRef(memo.get(at.into())?))?;
                }
                _ => return None,
            }
        }
    }
}

/// What lies on the stack from `from` on becomes a tuple.
#[inline]
unsafe fn tuple(stack: &mut Held, from: usize, floor: usize) -> Option<()> {
    if from < floor {
        return None;
    }
    let length = stack.length - from;
    // SAFETY: attached; a new tuple is given the references that lie on the stack, which ends below them then.
    unsafe {
        let made = calls::PyTuple_New(length as ffi::Py_ssize_t);
        if made.is_null() {
            return stack.push(made);
        }
        for at in 0..length {
            ffi::PyTuple_SetItem(made, at as ffi::Py_ssize_t, stack.get(from + at)?);
        }
        stack.length = from;
        stack.push(made)
    }
}

/// ... goes to the list below it.
#[inline]
unsafe fn append(stack: &mut Held, from: usize, floor: usize) -> Option<()> {
    let below = from.checked_sub(1).filter(|below| *below >= floor)?;
    let list = stack.get(below)?;
    // SAFETY: live objects; only a list is one to us.
    unsafe {
        if ffi::Py_TYPE(list) != &raw mut ffi::PyList_Type {
            return None;
        }
        for at in from..stack.length {
            if ffi::PyList_Append(list, stack.get(at)?) != 0 {
                ffi::PyErr_Clear();
                return None;
            }
        }
    }
    stack.cut(from);
    Some(())
}

/// ... goes to the dict below it, keys and values in turn.
#[inline]
unsafe fn set_items(stack: &mut Held, from: usize, floor: usize) -> Option<()> {
    let below = from.checked_sub(1).filter(|below| *below >= floor)?;
    let dict = stack.get(below)?;
    if !(stack.length - from).is_multiple_of(2) {
        return None;
    }
    // SAFETY: as above. Keys are of the types that are made here, so that their hash and their comparison run no code of others.
    unsafe {
        if ffi::Py_TYPE(dict) != &raw mut ffi::PyDict_Type {
            return None;
        }
        for at in (from..stack.length).step_by(2) {
            if ffi::PyDict_SetItem(dict, stack.get(at)?, stack.get(at + 1)?) != 0 {
                ffi::PyErr_Clear();
                return None;
            }
        }
    }
    stack.cut(from);
    Some(())
}
