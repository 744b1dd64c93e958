"""What became of a process, in a file without a name that the parent made for it before it began.

The first byte says what follows: 0, nothing, for None; `VALUE` and a pickled value; `ERROR` and a pickled exception with
its traceback as text; `LOST` and a text that says why there is neither. A process that was killed has written none.
"""

import io
import mmap
import os
import signal
import struct
import sys

VALUE, ERROR, LOST, ENDED = 1, 2, 3, 4
SMALL = 64 * 1024
_HEAD = struct.Struct("=BxxxIQ")
_LENGTH = struct.Struct("=Q")


def _write_all(descriptor, parts):
    for part in parts:
        part = memoryview(part).cast("B")
        while part:
            part = part[os.write(descriptor, part) :]


def _write(descriptor, kind, *parts):
    """Replaces what is there: the head comes last, so that what is half written is nothing."""
    os.ftruncate(descriptor, 0)
    os.lseek(descriptor, _HEAD.size, os.SEEK_SET)
    sizes = [memoryview(part).nbytes for part in parts]
    _write_all(descriptor, [_LENGTH.pack(size) for size in sizes])
    _write_all(descriptor, parts)
    os.pwrite(descriptor, _HEAD.pack(kind, len(parts), sum(sizes)), 0)


def _dumps(value):
    """The pickle and its buffers, which are copied once, into the file."""
    from allcores.multiprocessing.reduction import ForkingPickler

    stream, buffers = io.BytesIO(), []
    ForkingPickler(stream, 5, True, buffers.append).dump(value)
    return [stream.getbuffer(), *(buffer.raw() for buffer in buffers)]


def write_value(descriptor, value):
    """In the child: what the target returned."""
    try:
        parts = _dumps(value)
    except Exception as error:
        text = f"its result, of type {type(value).__qualname__}, cannot be pickled: {_said(error)}"
        _write(descriptor, LOST, text.encode(errors="replace"))
    else:
        _write(descriptor, VALUE, *parts)


def write_error(descriptor, error):
    """In the child: what the target raised."""
    if isinstance(error, SystemExit):
        # Its code is the exit code, which the parent learns anyway.
        if error.code is None or error.code == 0:
            os.ftruncate(descriptor, 0)
            os.ftruncate(descriptor, 1)
        else:
            _write(descriptor, ENDED, b"sys.exit()")
        return
    import traceback

    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    try:
        parts = _dumps(error)
        if len(parts) > 1:
            parts = [_plain(error)]
    except Exception as reason:
        text = f"it raised an exception that cannot be pickled ({_said(reason)}):\n{text}"
        _write(descriptor, LOST, text.encode(errors="replace"))
    else:
        _write(descriptor, ERROR, text.encode(errors="replace"), *parts)


def _plain(value):
    from allcores.multiprocessing.reduction import ForkingPickler

    return ForkingPickler.dumps(value)


def _said(error):
    return f"{type(error).__name__}: {error}"


def not_yet(process, timeout):
    """What `result` raises when its time is over."""
    from multiprocessing import TimeoutError

    return TimeoutError(f"process {process.name!r} has not ended after {timeout} seconds")


def read(process, exitcode):
    """In the parent: what the result is, as a function that returns or raises it."""
    descriptor = process._popen.finalizer.outcome
    size = os.fstat(descriptor).st_size if descriptor is not None else 0
    if size == 1:
        return _nothing
    if size >= _HEAD.size:
        kind, count, _ = _HEAD.unpack(os.pread(descriptor, _HEAD.size, 0))
        if kind in (VALUE, ERROR, LOST, ENDED):
            return _decode(process, exitcode, kind, _parts(descriptor, size, count))
    return _raising(_ended(process, exitcode))


def _parts(descriptor, size, count):
    memory = memoryview(_memory(descriptor, size))
    place = _HEAD.size
    sizes = [length for (length,) in _LENGTH.iter_unpack(memory[place : place + count * _LENGTH.size])]
    place += count * _LENGTH.size
    parts = []
    for length in sizes:
        parts.append(memory[place : place + length])
        place += length
    return parts


def _memory(descriptor, size):
    """The file's content, ours alone and writable."""
    if size <= SMALL:
        content = bytearray(size)
        os.preadv(descriptor, [content], 0)
        return content
    # Large buffers stay where they are, as the memory of what is unpickled.
    options = {"trackfd": False} if sys.version_info >= (3, 13) else {}
    return mmap.mmap(descriptor, size, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE, **options)


def _decode(process, exitcode, kind, parts):
    from multiprocessing import ProcessError
    import pickle

    if kind == VALUE:
        try:
            value = pickle.loads(parts[0], buffers=parts[1:])
        except Exception as error:
            lost = ProcessError(f"the result of process {process.name!r} cannot be unpickled: {_said(error)}")
            lost.__cause__ = error
            return _raising(lost)
        return lambda: value
    text = bytes(parts[0]).decode(errors="replace")
    if kind == LOST:
        return _raising(ProcessError(f"process {process.name!r} has no result: {text}"))
    if kind == ENDED:
        return _raising(_ended(process, exitcode, f"by {text}"))
    return _raising(_remote(process, text, parts[1]))


def _remote(process, text, pickled):
    from multiprocessing import ProcessError
    from multiprocessing.pool import RemoteTraceback
    import pickle

    try:
        error = pickle.loads(pickled)
        if not isinstance(error, BaseException):
            raise TypeError(f"{type(error).__qualname__} is no exception")
    except Exception as reason:
        lost = ProcessError(f"process {process.name!r} raised an exception that cannot be unpickled: {_said(reason)}")
        lost.__cause__ = RemoteTraceback(f'\n"""\n{text}"""')
        return lost
    error.__cause__ = RemoteTraceback(f'\n"""\n{text}"""')
    if isinstance(error, Exception):
        return error
    # KeyboardInterrupt was the child's, and is not to end the parent.
    lost = ProcessError(f"process {process.name!r} was ended by {type(error).__name__}")
    lost.__cause__ = error
    return lost


def _ended(process, exitcode, how=""):
    from multiprocessing import ProcessError

    if exitcode < 0:
        try:
            name = signal.Signals(-exitcode).name
        except ValueError:
            name = "a signal"
        return ProcessError(f"process {process.name!r} was killed by {name} (exit code {exitcode}): it has no result")
    how = f" {how}" if how else ""
    return ProcessError(f"process {process.name!r} ended{how} with exit code {exitcode}: it has no result")


def _nothing():
    return None


def _raising(error):
    def outcome():
        # Without the traceback of an earlier call, which would keep its frames alive.
        raise error.with_traceback(None)

    return outcome
