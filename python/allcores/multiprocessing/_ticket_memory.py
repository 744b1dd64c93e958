"""Memory as Rust has it: Array, Value, and those without a lock, in one piece with what they are made of.

An Array of `multiprocessing` is two things, an RLock and its memory, and either may be any. Rust's is one: a lock's word, what
the elements are, the elements.
"""

import ctypes
from multiprocessing.sharedctypes import rebuild_ctype, typecode_to_type

from allcores import _allcores
from allcores.multiprocessing import sharedctypes, synchronize

#: The types that have a letter. Not those in the other byte order, nor subclasses.
_LETTERS = {type_: type_._type_ for type_ in (*typecode_to_type.values(), ctypes.c_bool)}
_TYPES = {**typecode_to_type, "?": ctypes.c_bool}

#: The most bytes that a piece of the arena holds.
_MOST = (1 << 30) - 128


def ctype(typecode_or_type):
    """The type of ctypes for a type code or itself."""
    type_ = typecode_to_type.get(typecode_or_type, typecode_or_type)
    if not isinstance(type_, type):
        raise TypeError(f"{typecode_or_type!r} is neither a type code nor a type of ctypes")
    return type_


def shape(type_):
    """What Rust's side is told of a type: its letter, its size, what it is aligned to."""
    return _LETTERS.get(type_), ctypes.sizeof(type_), ctypes.alignment(type_)


def view(block, kind, type_=None):
    """The object of ctypes on a piece of memory, with its lock if it has one."""
    if type_ is None:
        type_ = _TYPES[block._letter()]
    memory = sharedctypes.Memory.__new__(sharedctypes.Memory)
    memory._block = block
    obj = rebuild_ctype(type_ * block._count() if kind.endswith("Array") else type_, memory, None)
    if kind.startswith("Raw"):
        return obj
    return sharedctypes.synchronized(obj, PartLock(block))


class PartLock(synchronize.SemLock):
    """The lock of an Array or a Value as Rust has them. As with an RLock its thread may take it again; that is known to this
    object alone, so that two that were opened apart are two owners."""

    def __init__(self, block):
        self._guard(block)

    def __repr__(self):
        return f"<{type(self).__name__}(owner={synchronize._owner(self)[0]})>"


def Array(typecode_or_type, size_or_initializer):
    """
    Return a SynchronizedArray that a ticket carries, to Rust as its `Array<T>`

    The arguments are those of `multiprocessing.Array`.
    """
    type_ = ctype(typecode_or_type)
    if isinstance(size_or_initializer, int):
        return view(_allcores.Block._piece("Array", shape(type_), size_or_initializer), "Array", type_)
    array = view(_allcores.Block._piece("Array", shape(type_), len(size_or_initializer)), "Array", type_)
    array._obj.__init__(*size_or_initializer)
    return array


def Value(typecode_or_type, *args):
    """
    Return a Synchronized that a ticket carries, to Rust as its `Value<T>`

    The arguments are those of `multiprocessing.Value`.
    """
    type_ = ctype(typecode_or_type)
    value = view(_allcores.Block._piece("Value", shape(type_), 1), "Value", type_)
    value._obj.__init__(*args)
    return value


class Memory:
    """Zeroed bytes that both programs see: a buffer for `memoryview`, `numpy.frombuffer` or ctypes' `from_buffer`.

    To Rust a `RawArray<u8>`; of more than 1 GiB, which the arena does not hold in one piece, a `SharedMemory`.
    """

    def __init__(self, size, *, block=None):
        self._block = block or _allcores.Block(size, _MOST)

    def view(self):
        """The bytes."""
        return memoryview(self._block).cast("B")
