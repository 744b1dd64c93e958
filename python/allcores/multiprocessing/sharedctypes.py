"""ctypes objects in memory that processes share: `multiprocessing.sharedctypes` over the arena.

The classes extend the interpreter's own. An ordinary number under a lock of ours is read and written in one step; everything
else goes the interpreter's way: acquire, do, release.
"""

import ctypes
import weakref
from multiprocessing import reduction
from multiprocessing import sharedctypes as _stock
from multiprocessing.context import assert_spawning
from multiprocessing.sharedctypes import (
    make_property,
    prop_cache,
    rebuild_ctype,
    reduce_ctype,
    template,
    typecode_to_type,
)

from allcores import _allcores
from allcores.multiprocessing import _arena
from allcores.multiprocessing.synchronize import RLock

__all__ = ["RawValue", "RawArray", "Value", "Array", "copy", "synchronized"]

_StockSynchronizedBase = _stock.SynchronizedBase
_StockSynchronized = _stock.Synchronized
_StockSynchronizedArray = _stock.SynchronizedArray
_StockSynchronizedString = _stock.SynchronizedString


def _context(ctx):
    if ctx is not None:
        return ctx
    from allcores.multiprocessing.context import _default_context

    return _default_context.get_context()


#
# The memory
#


class Memory:
    """A piece of shared memory behind a ctypes object: it goes to children, and is freed when the last process lets go.

    What the interpreter's `BufferWrapper` is there: a ctypes object's `_wrapper`.
    """

    def __init__(self, size):
        self._block = _allcores.Block(size)

    def create_memoryview(self):
        """The memory, as a buffer."""
        return memoryview(self._block)

    def __getstate__(self):
        assert_spawning(self)
        descriptor = self._block._descriptor()
        if descriptor is None:
            return _arena.pack(self._block)
        return reduction.DupFd(descriptor)

    def __setstate__(self, state):
        if isinstance(state, tuple):
            self._block = _arena.rebuild(_allcores.Block._unpack, state)
        else:
            self._block = _received(state.detach())


#: Segments by the descriptor that they came with: it may come more than once, and is one segment's then.
_segments = weakref.WeakValueDictionary()


def _received(descriptor):
    known = _segments.get(descriptor)
    if known is None:
        known = _segments[descriptor] = _allcores.Block._receive(descriptor)
    return known


def _new_value(type_):
    # Bound to the object for as long as it lives, and the memory to that.
    return rebuild_ctype(type_, Memory(ctypes.sizeof(type_)), None)


#
# Without a lock
#


def RawValue(typecode_or_type, *args):
    """
    Returns a ctypes object allocated from shared memory
    """
    type_ = typecode_to_type.get(typecode_or_type, typecode_or_type)
    obj = _new_value(type_)
    obj.__init__(*args)
    return obj


def RawArray(typecode_or_type, size_or_initializer):
    """
    Returns a ctypes array allocated from shared memory
    """
    type_ = typecode_to_type.get(typecode_or_type, typecode_or_type)
    if isinstance(size_or_initializer, int):
        return _new_value(type_ * size_or_initializer)
    result = _new_value(type_ * len(size_or_initializer))
    result.__init__(*size_or_initializer)
    return result


def copy(obj):
    """
    Returns a ctypes object allocated from shared memory that is a copy of `obj`
    """
    new_obj = _new_value(type(obj))
    ctypes.pointer(new_obj)[0] = obj
    return new_obj


#
# With a lock
#


def _lock_of(lock, ctx):
    if lock in (True, None):
        lock = _context(ctx).RLock()
    if not hasattr(lock, "acquire"):
        raise AttributeError("%r has no method 'acquire'" % lock)
    return lock


def Value(typecode_or_type, *args, lock=True, ctx=None):
    """
    Return a synchronization wrapper for a Value
    """
    obj = RawValue(typecode_or_type, *args)
    if lock is False:
        return obj
    return synchronized(obj, _lock_of(lock, ctx), ctx=ctx)


def Array(typecode_or_type, size_or_initializer, *, lock=True, ctx=None):
    """
    Return a synchronization wrapper for a RawArray
    """
    obj = RawArray(typecode_or_type, size_or_initializer)
    if lock is False:
        return obj
    return synchronized(obj, _lock_of(lock, ctx), ctx=ctx)


def synchronized(obj, lock=None, ctx=None):
    """
    Return a wrapper of a ctypes object that holds a lock, any lock, during each access
    """
    assert not isinstance(obj, _StockSynchronizedBase), "object already synchronized"
    if isinstance(obj, ctypes._SimpleCData):
        return Synchronized(obj, lock, ctx)
    if isinstance(obj, ctypes.Array):
        if obj._type_ is ctypes.c_char:
            return SynchronizedString(obj, lock, ctx)
        return SynchronizedArray(obj, lock, ctx)
    cls = type(obj)
    try:
        scls = class_cache[cls]
    except KeyError:
        names = [field[0] for field in cls._fields_]
        d = {name: make_property(name) for name in names}
        classname = "Synchronized" + cls.__name__
        scls = class_cache[cls] = type(classname, (SynchronizedBase,), d)
    return scls(obj, lock, ctx)


class_cache = weakref.WeakKeyDictionary()

#: The types whose values ctypes and we read alike. Not those in the other byte order, nor subclasses.
_NUMBERS = {
    type_: type_._type_
    for type_ in (
        *(ctypes.c_byte, ctypes.c_ubyte, ctypes.c_short, ctypes.c_ushort, ctypes.c_int, ctypes.c_uint),
        *(ctypes.c_long, ctypes.c_ulong, ctypes.c_longlong, ctypes.c_ulonglong, ctypes.c_float, ctypes.c_double),
    )
}


def _guard(synchronized, type_, count):
    """Takes the short way, if there is one: for numbers at the start of their memory, under a lock that is ours as it is."""
    obj, lock = synchronized._obj, synchronized._lock
    letter = _NUMBERS.get(type_)
    memory = getattr(obj, "_wrapper", None)
    # Exactly an RLock: a subclass may have overridden anything.
    if letter is not None and type(memory) is Memory and type(lock) is RLock:
        synchronized._guard((lock, memory._block, letter, count))


class SynchronizedBase(_StockSynchronizedBase):
    """A ctypes object and its lock."""

    def __init__(self, obj, lock=None, ctx=None):
        self._obj = obj
        self._lock = lock if lock else _context(ctx).RLock()
        self.acquire = self._lock.acquire
        self.release = self._lock.release

    def __enter__(self):
        return self._lock.__enter__()

    def __exit__(self, *args):
        return self._lock.__exit__(*args)

    def __reduce__(self):
        assert_spawning(self)
        return synchronized, (self._obj, self._lock)

    def __repr__(self):
        return "<%s wrapper for %s>" % (type(self).__name__, self._obj)


class Synchronized(_allcores.GuardedValue, SynchronizedBase, _StockSynchronized):
    """A number and its lock, which is held during each access to `value`."""

    def __init__(self, obj, lock=None, ctx=None):
        SynchronizedBase.__init__(self, obj, lock, ctx)
        _guard(self, type(obj), 1)

    __repr__ = SynchronizedBase.__repr__

    def _get_slowly(self):
        # Not by `with`: any object that can acquire and release will do as a lock.
        self.acquire()
        try:
            return self._obj.value
        finally:
            self.release()

    def _set_slowly(self, value):
        self.acquire()
        try:
            self._obj.value = value
        finally:
            self.release()


class SynchronizedArray(_allcores.GuardedArray, SynchronizedBase, _StockSynchronizedArray):
    """An array and its lock, which is held during each access to elements."""

    def __init__(self, obj, lock=None, ctx=None):
        SynchronizedBase.__init__(self, obj, lock, ctx)
        _guard(self, obj._type_, len(obj))

    __repr__ = SynchronizedBase.__repr__

    def _item_slowly(self, i):
        with self:
            return self._obj[i]

    def _set_item_slowly(self, i, value):
        with self:
            self._obj[i] = value


class SynchronizedString(SynchronizedArray, _StockSynchronizedString):
    """An array of characters and its lock, which is held during each access."""
