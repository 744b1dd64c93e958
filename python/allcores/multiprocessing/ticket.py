"""Locks, queues, arrays and more, shared with a program in another language, or with another Python program.

Who starts the other program hands them over, and who was started opens them by name; `allcores::multiprocessing::Ticket` is
the same in Rust. Starting one from here:

    lock, samples = multiprocessing.Lock(), ticket.Array("d", [0.5, 1.5])
    shared = ticket.Ticket(lock=lock, samples=samples)
    child = subprocess.Popen(command, env={**os.environ, **shared.env}, pass_fds=shared.pass_fds)

and in a program that was started so, by Rust or by Python:

    shared = ticket.received()
    lock, samples = shared.lock("lock"), shared.array("samples")

What lies in the arena that a program shares with its children is kept until it is opened, and that is done once. Both programs
must be of the same version of allcores. They trust each other as a process and its children do.
"""

import ctypes
import os

from allcores import _allcores
from allcores.multiprocessing import context, queues, sharedctypes, synchronize
from allcores.multiprocessing._ticket_memory import Array, Memory, PartLock, Value, ctype, shape, view

__all__ = ["Array", "BytesQueue", "Memory", "Ticket", "TicketError", "Value", "received"]

_VARIABLE = "ALLCORES_TICKET"
#: Moves with every change of what is written there: see ticket.rs.
_FORMAT = "2"


class TicketError(RuntimeError):
    """There is no ticket, it cannot be read, or what it carries under a name is something else. The text says which."""


class BytesQueue:
    """A queue of bytes, as they are: `put_bytes` and `get_bytes` of Rust's `Queue`."""

    def __init__(self, core=None):
        self._core = core or _allcores.SharedQueue(None, False)

    def put_bytes(self, data, timeout=None):
        """Puts a message; `queue.Full` if there is no room in time."""
        if not self._core.put(bytes(data), True, timeout):
            raise queues.Full

    def get_bytes(self, timeout=None):
        """Takes the next message; `queue.Empty` if there is none in time."""
        message = self._core.get(True, timeout)
        if message is None:
            raise queues.Empty
        return bytes(message)


class _Entry:
    """What stands under a name: for people what it is, a message as Rust would send it, its descriptors, and whose they are."""

    def __init__(self, what, message, descriptors=(), keeper=None):
        self.what, self.message, self.descriptors, self.keeper = what, message, descriptors, keeper


class Ticket:
    """What is handed to a program that this one starts by itself, or was handed to this one.

    It carries what `multiprocessing` makes: Lock, RLock, the semaphores, Event, Condition (without the lock around it, which
    goes under a name of its own), Barrier (without its action), Queue, JoinableQueue, RawArray and RawValue; and what this
    module makes: BytesQueue, Memory, Array, Value. An Array or a Value of `multiprocessing` has a lock that is apart from its
    memory: put `get_lock()` and `get_obj()` into the ticket, each under a name.
    """

    def __init__(self, **shared):
        self._entries = {name: _pack(value) for name, value in shared.items()}
        self._descriptor = _allcores.arena_descriptor() if shared else None

    @property
    def pass_fds(self):
        """For `subprocess.Popen`."""
        segments = [descriptor for entry in self._entries.values() for descriptor in entry.descriptors]
        return (self._descriptor, *dict.fromkeys(segments))

    @property
    def env(self):
        """For the environment of `subprocess.Popen`."""
        parts = [_FORMAT, str(self._descriptor)]
        for name, entry in self._entries.items():
            numbers = ",".join(map(str, entry.descriptors))
            parts.append(f"{_hex(name)}={_hex(entry.what)}:{entry.message.hex()}:{numbers}")
        return {_VARIABLE: ";".join(parts)}

    def _open(self, name, wanted, open):
        entry = self._entries.get(name)
        if entry is None:
            raise TicketError(f"the ticket has nothing named {name!r} (any more): what it carries is opened once")
        try:
            opened = open(entry)
        except (OSError, RuntimeError, TypeError, ValueError) as error:
            text = f"{name!r} is {entry.what} in the ticket, and cannot be opened as {wanted}: {error}"
            raise TicketError(text) from error
        del self._entries[name]
        return opened

    def _semlock(self, name, kind, number, most):
        def open(entry):
            opened = kind.__new__(kind)
            opened.__setstate__((number, most, (entry.message, ())))
            return opened

        return self._open(name, kind.__name__, open)

    def lock(self, name):
        """Rust's `Lock<()>`."""
        return self._semlock(name, synchronize.Lock, synchronize._LOCK, 1)

    def rlock(self, name):
        """Rust's `RLock<()>`."""
        return self._semlock(name, synchronize.RLock, synchronize.RECURSIVE_MUTEX, 1)

    def semaphore(self, name):
        """Rust's `Semaphore`, and its `BoundedSemaphore`, which keeps its bound."""
        return self._semlock(name, synchronize.Semaphore, synchronize.SEMAPHORE, synchronize.SEM_VALUE_MAX)

    def bounded_semaphore(self, name):
        """Rust's `BoundedSemaphore`."""
        return self._semlock(name, synchronize.BoundedSemaphore, synchronize.SEMAPHORE, synchronize.SEM_VALUE_MAX)

    def owned_semaphore(self, name):
        """Rust's `OwnedSemaphore`: a Semaphore made with `owned=True`."""
        return self._semlock(name, synchronize.Semaphore, synchronize._OWNED_SEMAPHORE, synchronize._MOST_OWNED)

    def event(self, name):
        """Rust's `Event`."""

        def open(entry):
            opened = synchronize.Event.__new__(synchronize.Event)
            opened.__setstate__((entry.message, ()))
            return opened

        return self._open(name, "Event", open)

    def condition(self, name, lock):
        """Rust's `Condition`, around the lock that all who use it take."""

        def open(entry):
            opened = synchronize.Condition.__new__(synchronize.Condition)
            opened._around(lock, _allcores.SharedCondition._unpack(entry.message))
            return opened

        return self._open(name, "Condition", open)

    def barrier(self, name, action=None, timeout=None):
        """Rust's `Barrier`; `action` and `timeout` are this program's."""

        def open(entry):
            opened = synchronize.Barrier.__new__(synchronize.Barrier)
            opened.__setstate__(((entry.message, ()), action, timeout))
            return opened

        return self._open(name, "Barrier", open)

    def bytes_queue(self, name):
        """Rust's `Queue`, message by message."""
        return self._open(
            name, "BytesQueue", lambda entry: BytesQueue(_allcores.SharedQueue._unpack(entry.message, False))
        )

    def queue(self, name):
        """A Queue of Python's objects: what lies in Rust's `Queue` is their pickles."""
        return self._queue(name, queues.Queue)

    def joinable_queue(self, name):
        """A JoinableQueue of Python's objects: what lies in Rust's `JoinableQueue` is their pickles."""
        return self._queue(name, queues.JoinableQueue)

    def _queue(self, name, kind):
        def open(entry):
            opened = kind(ctx=context._default_context.get_context())
            opened._use(_allcores.SharedQueue._unpack(entry.message, kind._joinable))
            return opened

        return self._open(name, kind.__name__, open)

    def array(self, name, typecode_or_type=None):
        """Rust's `Array<T>`: a SynchronizedArray. Its type is asked for only if `T` is no number, and checked if it is given."""
        return self._memory(name, "Array", typecode_or_type)

    def value(self, name, typecode_or_type=None):
        """Rust's `Value<T>`: a Synchronized, its type as for `array`."""
        return self._memory(name, "Value", typecode_or_type)

    def raw_array(self, name, typecode_or_type=None):
        """Rust's `RawArray<T>`: an array of ctypes without a lock, its type as for `array`."""
        return self._memory(name, "RawArray", typecode_or_type)

    def raw_value(self, name, typecode_or_type=None):
        """Rust's `RawValue<T>`: an object of ctypes without a lock, its type as for `array`."""
        return self._memory(name, "RawValue", typecode_or_type)

    def _memory(self, name, kind, typecode_or_type):
        type_ = None if typecode_or_type is None else ctype(typecode_or_type)

        def open(entry):
            wanted = None if type_ is None else shape(type_)
            return view(_allcores.Block._open(entry.message, kind, wanted), kind, type_)

        wanted = f"{kind} of {type_.__name__}" if type_ else f"{kind} without saying of which type of ctypes"
        return self._open(name, wanted, open)

    def memory(self, name):
        """Rust's `RawArray<u8>`, or its `SharedMemory` without a name: bytes."""

        def open(entry):
            if not entry.descriptors:
                block = _allcores.Block._open(entry.message, "RawArray", shape(ctypes.c_ubyte))
            else:
                block = _allcores.Block._unpack_segment(entry.message, list(map(os.dup, entry.descriptors)))
            return Memory(0, block=block)

        return self._open(name, "Memory", open)


def received():
    """The ticket that this program was started with. To be called once, before it shares anything else."""
    text = os.environ.get(_VARIABLE)
    if text is None:
        raise TicketError("this program got no ticket (any more): it must be started by one that attaches it")
    try:
        arena, entries = _parse(text)
    except (UnicodeError, ValueError) as error:
        raise _unreadable(error) from error
    inherited = [arena, *(descriptor for entry in entries.values() for descriptor in entry.descriptors)]
    # Under other numbers and closed on exec: what this program starts is not to have them. And nothing is closed before it is
    # known that these are what they should be.
    copies = {}
    try:
        for descriptor in inherited:
            copies[descriptor] = os.dup(descriptor)
        _allcores.meet_arena(copies.pop(arena))
    except OSError as error:
        for copy in copies.values():
            os.close(copy)
        raise _unreadable(error) from error
    for descriptor in set(inherited):
        os.close(descriptor)
    del os.environ[_VARIABLE]
    for entry in entries.values():
        entry.descriptors = tuple(copies[descriptor] for descriptor in entry.descriptors)
    ticket = Ticket()
    ticket._entries, ticket._descriptor = entries, _allcores.arena_descriptor()
    return ticket


def _parse(text):
    kind, _, rest = text.partition(";")
    if kind != _FORMAT:
        raise ValueError("it is of another format")
    arena, *parts = rest.split(";")
    entries = {}
    for part in parts:
        name, _, rest = part.partition("=")
        what, message, numbers = rest.split(":")
        descriptors = tuple(_number(number) for number in numbers.split(",") if number)
        entries[_unhex(name)] = _Entry(_unhex(what), bytes.fromhex(message), descriptors)
    return _number(arena), entries


def _number(text):
    number = int(text)
    if not 2 < number < 2**31:
        raise ValueError("a descriptor in it is none")
    return number


def _hex(text):
    return text.encode().hex()


def _unhex(text):
    return bytes.fromhex(text).decode()


def _unreadable(error):
    return TicketError(
        f"the ticket in {_VARIABLE} cannot be read: {error}; both programs must be of the same version of allcores"
    )


def _pack(value):
    what = type(value).__name__
    if isinstance(value, (BytesQueue, queues.Queue)):
        return _Entry(what, value._core._pack()[0])
    if isinstance(value, synchronize.Condition):
        return _Entry(what, value._waiters._pack()[0])
    if isinstance(value, synchronize.Barrier):
        return _Entry(what, value._parties_wait._pack()[0])
    if isinstance(value, sharedctypes.SynchronizedBase):
        if type(value._lock) is not PartLock:
            raise TypeError(
                f"the lock of this {what} is apart from its memory: put get_lock() and get_obj() into the ticket, each under "
                f"a name, or make it by allcores.multiprocessing.ticket.{'Array' if isinstance(value, sharedctypes.SynchronizedArray) else 'Value'}"
            )
        kind = "Array" if isinstance(value, sharedctypes.SynchronizedArray) else "Value"
        return _memory_entry(kind, value._obj)
    if isinstance(value, Memory):
        return _block_entry(what, value._block)
    if isinstance(getattr(value, "_wrapper", None), sharedctypes.Memory):
        return _memory_entry("RawArray", value)
    if not isinstance(value, (synchronize.SemLock, synchronize.Event)):
        raise TypeError(f"a ticket carries what multiprocessing and its module ticket make, not {what}")
    return _Entry(what, value._pack()[0])


def _memory_entry(kind, obj):
    block = obj._wrapper._block
    type_ = obj._type_ if isinstance(obj, ctypes.Array) else type(obj)
    block._made_of(shape(type_))
    return _block_entry(f"{kind} of {type_.__name__}", block)


def _block_entry(what, block):
    descriptor = block._descriptor()
    if descriptor is None:
        return _Entry(what, block._pack()[0])
    return _Entry(f"{what}, a segment of {len(block)} bytes", block._pack_segment(), (descriptor,), block)
