//! From an object to its pickle. Allocates nothing, and runs no Python code.

use std::mem::MaybeUninit;

use pyo3::ffi::{self, PyObject, PyTypeObject};

use super::op;

/// Room for what a carrier puts before a pickle.
pub(crate) const HEADER: usize = 4;

/// The longest pickle that is written here.
const MOST: usize = 2048;
/// How many objects are remembered: each is looked for among all of them.
const MEMO: usize = 32;
/// How deep lists may lie in lists.
const DEPTH: u32 = 8;

const FRAME_HEADER: usize = 9;
/// Shorter frames are not marked as such.
const FRAME_LEAST: usize = 4;

/// A place for a pickle.
pub(crate) struct Pickle {
    bytes: [MaybeUninit<u8>; HEADER + MOST],
    length: usize,
    /// The objects that were remembered, in order: what a pickle that is read again calls them.
    memo: [MaybeUninit<*mut PyObject>; MEMO],
    remembered: usize,
}

/// Not plain, or too large.
struct Other;

impl Pickle {
    #[inline]
    pub(crate) fn new() -> Pickle {
        Pickle {
            bytes: [MaybeUninit::uninit(); HEADER + MOST],
            length: 0,
            memo: [MaybeUninit::uninit(); MEMO],
            remembered: 0,
        }
    }

    /// The object's pickle after [`HEADER`] bytes, zeroes as yet; `None` if that is not for us.
    #[inline]
    pub(crate) fn write(&mut self, object: *mut PyObject) -> Option<&mut [u8]> {
        const START: usize = HEADER + 2 + FRAME_HEADER;
        self.put(&[0; HEADER]).ok()?;
        self.put(&[op::PROTO, 5, op::FRAME]).ok()?;
        self.put(&[0; 8]).ok()?;
        self.save(object, DEPTH).ok()?;
        self.put(&[op::STOP]).ok()?;
        let frame = self.length - START;
        // SAFETY: everything up to `length` has been written.
        let written = unsafe {
            std::slice::from_raw_parts_mut(self.bytes.as_mut_ptr().cast::<u8>(), self.length)
        };
        if frame < FRAME_LEAST {
            written.copy_within(START.., START - FRAME_HEADER);
            return Some(&mut written[..HEADER + 2 + frame]);
        }
        written[START - 8..START].copy_from_slice(&(frame as u64).to_le_bytes());
        Some(written)
    }

    #[inline]
    fn put(&mut self, bytes: &[u8]) -> Result<(), Other> {
        let end = self.length + bytes.len();
        let place = self.bytes.get_mut(self.length..end).ok_or(Other)?;
        place.write_copy_of_slice(bytes);
        self.length = end;
        Ok(())
    }

    #[inline]
    fn put_op<const N: usize>(&mut self, op: u8, bytes: [u8; N]) -> Result<(), Other> {
        self.put(&[op])?;
        self.put(&bytes)
    }

    /// Writes that it is one of those before, if it is.
    #[inline]
    fn again(&mut self, object: *mut PyObject) -> Result<bool, Other> {
        // SAFETY: so many have been written.
        let known = unsafe { self.memo[..self.remembered].assume_init_ref() };
        match known.iter().position(|known| *known == object) {
            Some(at) => self.put_op(op::BINGET, [at as u8]).map(|()| true),
            None => Ok(false),
        }
    }

    #[inline]
    fn remember(&mut self, object: *mut PyObject) -> Result<(), Other> {
        self.memo
            .get_mut(self.remembered)
            .ok_or(Other)?
            .write(object);
        self.remembered += 1;
        self.put(&[op::MEMOIZE])
    }

    fn save(&mut self, object: *mut PyObject, depth: u32) -> Result<(), Other> {
        // SAFETY: a live object, and the interpreter's own objects and types; attached, as who has an object is.
        unsafe {
            if object == ffi::Py_None() {
                return self.put(&[op::NONE]);
            }
            let kind = ffi::Py_TYPE(object);
            let is = |known: *mut PyTypeObject| kind == known;
            if is(&raw mut ffi::PyLong_Type) {
                return self.save_int(object);
            }
            if is(&raw mut ffi::PyFloat_Type) {
                let float = ffi::PyFloat_AsDouble(object);
                return self.put_op(op::BINFLOAT, float.to_be_bytes());
            }
            if is(&raw mut ffi::PyBool_Type) {
                let truth = object == ffi::Py_True();
                return self.put(&[if truth { op::NEWTRUE } else { op::NEWFALSE }]);
            }
            if self.again(object)? {
                return Ok(());
            }
            if is(&raw mut ffi::PyUnicode_Type) {
                let mut length = 0;
                let text = ffi::PyUnicode_AsUTF8AndSize(object, &mut length);
                if text.is_null() {
                    // Half of a surrogate pair, or no memory: whoever comes next finds out.
                    ffi::PyErr_Clear();
                    return Err(Other);
                }
                let text = std::slice::from_raw_parts(text.cast::<u8>(), length as usize);
                self.save_run(op::SHORT_BINUNICODE, op::BINUNICODE, text)?;
                return self.remember(object);
            }
            if is(&raw mut ffi::PyBytes_Type) {
                let start = ffi::PyBytes_AsString(object).cast::<u8>();
                let bytes = std::slice::from_raw_parts(start, ffi::PyBytes_Size(object) as usize);
                self.save_run(op::SHORT_BINBYTES, op::BINBYTES, bytes)?;
                return self.remember(object);
            }
            let depth = depth.checked_sub(1).ok_or(Other)?;
            if is(&raw mut ffi::PyTuple_Type) {
                return self.save_tuple(object, depth);
            }
            if is(&raw mut ffi::PyList_Type) {
                return self.save_list(object, depth);
            }
            if is(&raw mut ffi::PyDict_Type) {
                return self.save_dict(object, depth);
            }
        }
        Err(Other)
    }

    unsafe fn save_int(&mut self, object: *mut PyObject) -> Result<(), Other> {
        let mut beyond = 0;
        // SAFETY: an int.
        let number = unsafe { ffi::PyLong_AsLongLongAndOverflow(object, &mut beyond) };
        if beyond != 0 {
            return Err(Other);
        }
        if let Ok(byte) = u8::try_from(number) {
            return self.put_op(op::BININT1, [byte]);
        }
        if let Ok(two) = u16::try_from(number) {
            return self.put_op(op::BININT2, two.to_le_bytes());
        }
        if let Ok(four) = i32::try_from(number) {
            return self.put_op(op::BININT, four.to_le_bytes());
        }
        // As few bytes as show the sign.
        let bits = 65
            - number
                .unsigned_abs()
                .wrapping_sub(u64::from(number < 0))
                .leading_zeros();
        let length = bits.div_ceil(8) as usize;
        self.put(&[op::LONG1, length as u8])?;
        self.put(&number.to_le_bytes()[..length])
    }

    fn save_run(&mut self, short: u8, long: u8, bytes: &[u8]) -> Result<(), Other> {
        match u8::try_from(bytes.len()) {
            Ok(length) => self.put(&[short, length])?,
            Err(_) if bytes.len() <= MOST => {
                self.put_op(long, (bytes.len() as u32).to_le_bytes())?;
            }
            Err(_) => return Err(Other),
        }
        self.put(bytes)
    }

    unsafe fn save_tuple(&mut self, object: *mut PyObject, depth: u32) -> Result<(), Other> {
        // SAFETY: a tuple, whose items live as long as it does.
        let length = unsafe { ffi::PyTuple_Size(object) };
        if length == 0 {
            return self.put(&[op::EMPTY_TUPLE]);
        }
        if length > 3 {
            self.put(&[op::MARK])?;
        }
        for at in 0..length {
            // SAFETY: as above.
            self.save(unsafe { ffi::PyTuple_GetItem(object, at) }, depth)?;
        }
        // A tuple that contains itself, by a list, has been written meanwhile.
        // SAFETY: so many have been written.
        if unsafe { self.memo[..self.remembered].assume_init_ref() }.contains(&object) {
            return Err(Other);
        }
        self.put(&[match length {
            1 => op::TUPLE1,
            2 => op::TUPLE2,
            3 => op::TUPLE3,
            _ => op::TUPLE,
        }])?;
        self.remember(object)
    }

    unsafe fn save_list(&mut self, object: *mut PyObject, depth: u32) -> Result<(), Other> {
        self.put(&[op::EMPTY_LIST])?;
        self.remember(object)?;
        // SAFETY: a list, that nobody changes: no Python code runs meanwhile.
        let length = unsafe { ffi::PyList_Size(object) };
        // An item is a byte at least; longer lists are written in batches.
        if length > 1000 {
            return Err(Other);
        }
        if length > 1 {
            self.put(&[op::MARK])?;
        }
        for at in 0..length {
            // SAFETY: as above.
            self.save(unsafe { ffi::PyList_GetItem(object, at) }, depth)?;
        }
        match length {
            0 => Ok(()),
            1 => self.put(&[op::APPEND]),
            _ => self.put(&[op::APPENDS]),
        }
    }

    unsafe fn save_dict(&mut self, object: *mut PyObject, depth: u32) -> Result<(), Other> {
        self.put(&[op::EMPTY_DICT])?;
        self.remember(object)?;
        // SAFETY: a dict, that nobody changes.
        let length = unsafe { ffi::PyDict_Size(object) };
        if length > 1000 {
            return Err(Other);
        }
        if length > 1 {
            self.put(&[op::MARK])?;
        }
        let (mut at, mut key, mut value) = (0, std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: as above; key and value live as long as they are there.
        while unsafe { ffi::PyDict_Next(object, &mut at, &mut key, &mut value) } != 0 {
            self.save(key, depth)?;
            self.save(value, depth)?;
        }
        match length {
            0 => Ok(()),
            1 => self.put(&[op::SETITEM]),
            _ => self.put(&[op::SETITEMS]),
        }
    }
}
