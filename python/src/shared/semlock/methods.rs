//! The methods of `_allcores.SemLock`.

use std::ffi::CStr;

use allcores::sync::Deadline;
use pyo3::IntoPyObjectExt;
use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple};

use super::super::{arena, raise};
use super::SemLock;
use super::core::{Core, Quick, RECURSIVE_MUTEX, SEMAPHORE};
use crate::block;
use crate::data::Block;
use crate::raw::{
    Args, Object, Raw, TypeCell, boolean, method, none, property, slowly, special, special_method,
};

pub(super) static SEMLOCK: TypeCell = TypeCell::new();

type This = Object<SemLock>;

fn object<'py>(py: Python<'py>, value: impl IntoPyObjectExt<'py>) -> PyResult<*mut PyObject> {
    value.into_py_any(py).map(Py::into_ptr)
}

#[inline]
pub(in crate::shared) fn acquire(this: &This, args: Args) -> *mut PyObject {
    if args.is_empty()
        && let Some(core) = this.value.core.get()
        && let Quick::Done = core.take_quickly(&this.value.notes)
    {
        return boolean(true);
    }
    acquire_slowly(this, args)
}

#[cold]
fn acquire_slowly(this: &This, args: Args) -> *mut PyObject {
    slowly(|py| {
        let [block, timeout] = args.bind(py, "acquire", ["block", "timeout"])?;
        let deadline = match timeout {
            _ if !block.map_or(Ok(true), |block| block.is_truthy())? => Deadline::NOW,
            None => Deadline::NEVER,
            Some(timeout) => block::lenient_deadline(timeout.extract()?)?,
        };
        let taken = this
            .value
            .core()?
            .acquire(py, &this.value.notes, deadline)?;
        Ok(boolean(taken))
    })
}

#[inline]
pub(in crate::shared) fn release(this: &This) -> *mut PyObject {
    match this.value.release() {
        Ok(()) => none(),
        Err(refusal) => slowly(|_| Err(refusal.into())),
    }
}

#[inline]
fn exit(this: &This, _: Args) -> *mut PyObject {
    release(this)
}

fn locked(this: &This) -> *mut PyObject {
    slowly(|_| Ok(boolean(this.value.core()?.value() == 0)))
}

fn get_value(this: &This) -> *mut PyObject {
    slowly(|py| object(py, this.value.core()?.value()))
}

fn is_mine(this: &This) -> *mut PyObject {
    slowly(|_| Ok(boolean(this.value.core()?.is_mine(&this.value.notes))))
}

fn count(this: &This) -> *mut PyObject {
    slowly(|py| object(py, this.value.core()?.count(&this.value.notes)))
}

fn after_fork(_: &This) -> *mut PyObject {
    none()
}

fn release_save(this: &This) -> *mut PyObject {
    slowly(|py| object(py, this.value.core()?.release_all(&this.value.notes)?))
}

fn acquire_restore(this: &This, depth: *mut PyObject) -> *mut PyObject {
    slowly(|py| {
        // SAFETY: the interpreter keeps the argument alive during the call.
        let depth = unsafe { Borrowed::from_ptr(py, depth) }.extract()?;
        this.value.core()?.restore(py, &this.value.notes, depth)?;
        Ok(none())
    })
}

fn pack(this: &This) -> *mut PyObject {
    slowly(|py| {
        let packed = match this.value.core()? {
            Core::Lock(lock) => arena::pack(py, lock)?,
            Core::RLock(lock) => arena::pack(py, lock)?,
            Core::Semaphore(semaphore) => arena::pack(py, semaphore)?,
            Core::Owned(semaphore, _) => arena::pack(py, semaphore)?,
            Core::Part(piece) => arena::pack(py, piece)?,
        };
        object(py, packed)
    })
}

fn own_kind(this: &This) -> *mut PyObject {
    slowly(|py| object(py, this.value.core()?.kind()))
}

fn create(this: &This, args: Args) -> *mut PyObject {
    slowly(|py| {
        let [kind, value, most] = args.bind(py, "_create", ["kind", "value", "maxvalue"])?;
        let number = |given: Option<Borrowed<'_, '_, PyAny>>| match given {
            Some(given) => given.extract::<i64>(),
            None => Err(raise::invalid()),
        };
        let (Ok(kind), Ok(value), Ok(most)) = (
            number(kind)?.try_into(),
            number(value)?.try_into(),
            number(most)?.try_into(),
        ) else {
            return Err(raise::invalid());
        };
        // A second call changes nothing: the first one's is in use.
        let _ = this.value.core.set(Core::new(kind, value, most)?);
        Ok(none())
    })
}

fn open(this: &This, args: Args) -> *mut PyObject {
    slowly(|py| {
        let [Some(kind), Some(most), Some(bytes)] =
            args.bind(py, "_open", ["kind", "maxvalue", "packed"])?
        else {
            return Err(raise::invalid());
        };
        let bytes = bytes.cast::<PyBytes>()?;
        let core = Core::open(kind.extract()?, most.extract()?, bytes.as_bytes())?;
        let _ = this.value.core.set(core);
        Ok(none())
    })
}

fn guard(this: &This, block: *mut PyObject) -> *mut PyObject {
    slowly(|py| {
        // SAFETY: the interpreter keeps the argument alive during the call.
        let block = unsafe { Borrowed::from_ptr(py, block) };
        let core = Core::of(block.cast::<Block>()?.get().piece()?.clone())?;
        let _ = this.value.core.set(core);
        Ok(none())
    })
}

fn semlock(this: &This) -> *mut PyObject {
    // SAFETY: a live object.
    unsafe { ffi::Py_NewRef(this.as_ptr()) }
}

fn handle(this: &This) -> *mut PyObject {
    slowly(|py| object(py, this.value.core()?.address()))
}

fn kind(this: &This) -> *mut PyObject {
    slowly(|py| {
        let kind = match this.value.core()?.kind() {
            RECURSIVE_MUTEX => RECURSIVE_MUTEX,
            _ => SEMAPHORE,
        };
        object(py, kind)
    })
}

fn most(this: &This) -> *mut PyObject {
    slowly(|py| object(py, this.value.core()?.most()))
}

fn name(_: &This) -> *mut PyObject {
    none()
}

const ACQUIRE: &str = "acquire($self, /, block=True, timeout=None)\n--\n\n\
    Take it, waiting for that if need be; whether it was taken.\n\n\
    OwnerDiedError if its owner died: then it is free, and not taken.";

impl Raw for SemLock {
    const NAME: &'static CStr = c"allcores._allcores.SemLock";
    const DOC: &'static CStr = c"What locks and semaphores that processes share are made of.";
    const SUBCLASS: bool = true;

    fn cell() -> &'static TypeCell {
        &SEMLOCK
    }

    /// Empty: `__init__` or `__setstate__` fills it, whatever the arguments.
    fn new(_: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>) -> PyResult<SemLock> {
        Ok(SemLock::default())
    }

    #[rustfmt::skip]
    fn specials() -> Vec<special::Definition> {
        vec![
            special_method!(SemLock, "__enter__", acquire, "($self, /)", "acquire()."),
            special_method!(SemLock, "__exit__", exit, "($self, /, *exc_info)", "release()."),
        ]
    }

    #[rustfmt::skip]
    fn methods() -> Vec<ffi::PyMethodDef> {
        vec![
            method!(SemLock, "acquire", many, acquire, ACQUIRE),
            method!(SemLock, "release", noargs, release, "release($self, /)\n--\n\nRelease it once."),
            method!(SemLock, "locked", noargs, locked, "locked($self, /)\n--\n\nWhether acquire() would have to wait."),
            method!(SemLock, "_is_zero", noargs, locked, "_is_zero($self, /)\n--\n\nWhether its value is 0."),
            method!(SemLock, "_get_value", noargs, get_value, "_get_value($self, /)\n--\n\nHow often it can be taken now."),
            method!(SemLock, "_is_mine", noargs, is_mine, "_is_mine($self, /)\n--\n\nWhether the calling thread holds it."),
            method!(SemLock, "_count", noargs, count, "_count($self, /)\n--\n\nHow often this process holds it."),
            method!(SemLock, "_after_fork", noargs, after_fork, "_after_fork($self, /)\n--\n\nNothing: the words know whose they are."),
            method!(SemLock, "_release_save", noargs, release_save, "_release_save($self, /)\n--\n\nRelease it altogether; how often it was held."),
            method!(SemLock, "_acquire_restore", one, acquire_restore, "_acquire_restore($self, depth, /)\n--\n\nTake it so many times: always. What went wrong is raised once it is held."),
            method!(SemLock, "_kind", noargs, own_kind, "_kind($self, /)\n--\n\nOne of five numbers."),
            method!(SemLock, "_pack", noargs, pack, "_pack($self, /)\n--\n\nIts name as bytes, and the descriptors of its arenas."),
            method!(SemLock, "_create", many, create, "_create($self, /, kind, value, maxvalue)\n--\n\nMake it."),
            method!(SemLock, "_guard", one, guard, "_guard($self, block, /)\n--\n\nBe the lock of that array or value."),
            method!(SemLock, "_open", many, open, "_open($self, /, kind, maxvalue, packed)\n--\n\nOpen what _pack() packed."),
        ]
    }

    #[rustfmt::skip]
    fn properties() -> Vec<ffi::PyGetSetDef> {
        vec![
            property!(SemLock, "_semlock", semlock, "Itself: what the standard library's classes are wrapped round."),
            property!(SemLock, "handle", handle, "A number for it in this process."),
            property!(SemLock, "kind", kind, "RECURSIVE_MUTEX or SEMAPHORE."),
            property!(SemLock, "maxvalue", most, "The highest value."),
            property!(SemLock, "name", name, "None: nothing here has a name."),
        ]
    }
}
