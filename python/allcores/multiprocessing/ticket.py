"""Locks, queues and memory shared with a program in another language, or with another Python program.

Who starts the other program hands them over, and who was started opens them by name; `allcores::multiprocessing::Ticket` is
the same in Rust. Starting one from here:

    ticket = Ticket(lock=lock, words=words, counts=counts)
    child = subprocess.Popen(command, env={**os.environ, **ticket.env}, pass_fds=ticket.pass_fds)

and in a program that was started so, by Rust or by Python:

    ticket = received()
    lock, words, counts = ticket.lock("lock"), ticket.bytes_queue("words"), ticket.memory("counts")

What it carries lies in the arena that a program shares with its children. It is opened once, and kept until then.
"""

import os

from allcores import _allcores
from allcores.multiprocessing import context, queues, sharedctypes, synchronize

__all__ = ["BytesQueue", "Ticket", "received"]

_VARIABLE = "ALLCORES_TICKET"


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


class Memory:
    """Zeroed bytes that both programs see: a buffer for `memoryview`, `numpy.frombuffer` or ctypes' `from_buffer`."""

    def __init__(self, size, *, block=None):
        self._block = block or _allcores.Block(size)

    def view(self):
        """The bytes."""
        return memoryview(self._block).cast("B")


class Ticket:
    """What is handed to a program that this one starts by itself, or was handed to this one."""

    def __init__(self, **shared):
        self._entries = {name: _pack(value) for name, value in shared.items()}
        self._descriptor = _allcores.arena_descriptor() if shared else None

    @property
    def pass_fds(self):
        """For `subprocess.Popen`."""
        return (self._descriptor,)

    @property
    def env(self):
        """For the environment of `subprocess.Popen`."""
        parts = [str(self._descriptor)]
        parts += [f"{name.encode().hex()}={data.hex()}" for name, data in self._entries.items()]
        return {_VARIABLE: ";".join(parts)}

    def _take(self, name):
        try:
            return self._entries.pop(name)
        except KeyError:
            raise KeyError(f"the ticket has nothing named {name!r} (any more): what it carries is opened once") from None

    def lock(self, name):
        """Rust's `Lock<()>`."""
        return _semlock(synchronize.Lock, synchronize._LOCK, 1, self._take(name))

    def rlock(self, name):
        """Rust's `RLock<()>`."""
        return _semlock(synchronize.RLock, synchronize.RECURSIVE_MUTEX, 1, self._take(name))

    def semaphore(self, name):
        """Rust's `Semaphore`."""
        kind, most = synchronize.SEMAPHORE, synchronize.SEM_VALUE_MAX
        return _semlock(synchronize.Semaphore, kind, most, self._take(name))

    def bytes_queue(self, name):
        """Rust's `Queue`, message by message."""
        return BytesQueue(_allcores.SharedQueue._unpack(self._take(name), False))

    def queue(self, name):
        """A Queue of Python's objects: what lies in Rust's `Queue` is their pickles."""
        opened = queues.Queue(ctx=context._default_context.get_context())
        opened._use(_allcores.SharedQueue._unpack(self._take(name), False))
        return opened

    def memory(self, name):
        """Rust's `RawArray<u8>`."""
        return Memory(0, block=_allcores.Block._unpack(self._take(name)))


def received():
    """The ticket that this program was started with. To be called once, before it shares anything else."""
    text = os.environ.get(_VARIABLE)
    if text is None:
        raise RuntimeError("this program got no ticket: it must be started by one that attaches it")
    descriptor, *parts = text.split(";")
    # Under another number and closed on exec: what this program starts is not to have it.
    _allcores.meet_arena(os.dup(int(descriptor)))
    os.close(int(descriptor))
    del os.environ[_VARIABLE]
    ticket = Ticket()
    for part in parts:
        name, _, data = part.partition("=")
        ticket._entries[bytes.fromhex(name).decode()] = bytes.fromhex(data)
    return ticket


def _pack(value):
    if isinstance(value, (BytesQueue, queues.Queue)):
        value = value._core
    elif isinstance(value, (Memory, sharedctypes.Memory)):
        value = value._block
        if value._descriptor() is not None:
            raise ValueError("memory of a mebibyte and more is a segment, which a ticket cannot carry")
    if not hasattr(value, "_pack"):
        raise TypeError(f"a ticket carries locks, semaphores, queues and memory, not {type(value).__qualname__}")
    return value._pack()[0]


def _semlock(kind, number, most, data):
    opened = kind.__new__(kind)
    opened.__setstate__((number, most, (data, ())))
    return opened
