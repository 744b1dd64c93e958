"""The two ends of a queue, as the connections that the stdlib's queues have there.

Pools, executors and other libraries reach for `queue._reader` and `queue._writer`.
"""

from multiprocessing import BufferTooShort, context

from allcores._allcores import SharedQueue
from allcores.multiprocessing import _arena
from allcores.multiprocessing._pickling import ATOMS as _ATOMS
from allcores.multiprocessing._pickling import Kit as _Kit
from allcores.multiprocessing._pickling import atom as _atom
from allcores.multiprocessing._pickling import idle as _idle
from allcores.multiprocessing._pickling import loads as _loads

__all__ = ["Ends", "Reader", "ReaderLock", "Writer"]


class _Lazy:
    """An attribute that is made when it is first looked at, and may be replaced."""

    def __init__(self, make):
        self._make = make

    def __set_name__(self, owner, name):
        self._name = name

    def __get__(self, queue, owner=None):
        if queue is None:
            return self
        return vars(queue).setdefault(self._name, self._make(queue._core))


class _End:
    """One end of a queue. Closing it is for this object alone."""

    readable = False
    writable = False

    def __init__(self, core):
        self._core = core
        self._closed = False

    def _check(self):
        if self._closed:
            raise OSError("handle is closed")

    @property
    def closed(self):
        """Whether it was closed."""
        return self._closed

    def close(self):
        """Close it."""
        self._closed = True

    def fileno(self):
        """A descriptor of this process that is readable while there is something to receive."""
        self._check()
        return self._core.fileno()

    def __enter__(self):
        return self

    def __exit__(self, exc_type, exc_value, exc_tb):
        self.close()

    def __reduce__(self):
        context.assert_spawning(self)
        return _rebuild, (type(self), self._core.joinable(), _arena.pack(self._core))


def _rebuild(end, joinable, state):
    return end(_arena.rebuild(lambda packed: SharedQueue._unpack(packed, joinable), state))


class Reader(_End):
    """Where messages come out: as the receiving end of `Pipe(duplex=False)`.

    EOFError once nothing can come any more: every other process that had the queue is gone, and this one has closed its
    writing end.
    """

    readable = True

    def recv(self):
        """Receive an object."""
        if self._closed:
            raise OSError("handle is closed")
        return _loads(self._core.get())

    def recv_bytes(self, maxlength=None):
        """Receive the bytes of a message; OSError if there are more than `maxlength`."""
        self._check()
        if maxlength is not None and maxlength < 0:
            raise ValueError("negative maxlength")
        message = bytes(self._core.get())
        if maxlength is not None and len(message) > maxlength:
            self.close()
            raise OSError("bad message length")
        return message

    def recv_bytes_into(self, buf, offset=0):
        """Receive the bytes of a message into a writable buffer; how many. BufferTooShort holds what does not fit."""
        self._check()
        with memoryview(buf) as view:
            size = view.nbytes
            if offset < 0:
                raise ValueError("negative offset")
            if offset > size:
                raise ValueError("offset too large")
            message = self._core.get()
            length = len(message)
            if size < offset + length:
                raise BufferTooShort(bytes(message))
            with view.cast("B") as flat:
                flat[offset : offset + length] = message
            return length

    def poll(self, timeout=0.0):
        """Whether there is something to receive, or comes in time (None: whenever)."""
        self._check()
        return self._core.wait(timeout)


class Writer(_End):
    """Where messages go in: as the sending end of `Pipe(duplex=False)`."""

    writable = True

    def send(self, obj):
        """Send an object."""
        if self._closed:
            raise OSError("handle is closed")
        if type(obj) in _ATOMS:
            self._core.put(_atom(obj))
            return
        try:
            kit = _idle.pop()
        except IndexError:
            kit = _Kit()
        kit.dump(obj)
        self._core.put(kit.parts)
        kit.clear()

    def send_bytes(self, buf, offset=0, size=None):
        """Send bytes of a buffer as one message."""
        self._check()
        with memoryview(buf) as view, view.cast("B") as flat:
            length = len(flat)
            if offset < 0:
                raise ValueError("offset is negative")
            if length < offset:
                raise ValueError("buffer length < offset")
            if size is None:
                size = length - offset
            elif size < 0:
                raise ValueError("size is negative")
            elif offset + size > length:
                raise ValueError("buffer length < offset + size")
            with flat[offset : offset + size] as part:
                self._core.put(part)

    def close(self):
        """Close it: this process puts nothing more."""
        self._closed = True
        self._core.put_no_more()


class ReaderLock:
    """The lock of those who get, as the stdlib's queues have it: while a process holds it, no other process gets anything.

    Getting does not take it, so it is free even if others wait for an item; those who want one while it is held wait until it is
    free, or raise Empty once their time is up. It is the process's: its other threads may get. Free again when its holder ends,
    however that was.
    """

    def __init__(self, core):
        self._core = core

    def acquire(self, block=True, timeout=None):
        """Take it; whether it was free in `timeout` seconds (None: however long), or, without `block`, at once."""
        return self._core.reserve(block, timeout)

    def release(self):
        """Release it, whoever holds it; ValueError if nobody does."""
        if not self._core.unreserve():
            raise ValueError("semaphore or lock released too many times")

    def locked(self):
        """Whether somebody holds it."""
        return self._core.is_reserved()

    def __enter__(self):
        return self._core.reserve()

    def __exit__(self, exc_type, exc_value, exc_tb):
        self.release()

    def __repr__(self):
        return f"<{type(self).__name__}({'held' if self.locked() else 'free'})>"

    def __reduce__(self):
        context.assert_spawning(self)
        return _rebuild, (type(self), self._core.joinable(), _arena.pack(self._core))


class Ends:
    """What gives a queue its two ends and the lock of one of them, once somebody looks at them."""

    _reader = _Lazy(Reader)
    _writer = _Lazy(Writer)
    _rlock = _Lazy(ReaderLock)
