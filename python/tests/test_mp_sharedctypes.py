"""Value, Array and their memory: what CPython's suites do not ask."""

import ctypes
import gc
import multiprocessing.sharedctypes as stock
import os
import signal
import threading

import pytest
from asleep import sleeps, until_asleep

import allcores
from allcores.multiprocessing import sharedctypes

LETTERS = "bBhHiIlLqQfd"
LARGE = 1 << 18


class Point(ctypes.Structure):
    _fields_ = [("x", ctypes.c_int), ("y", ctypes.c_double)]


@pytest.mark.parametrize("letter", LETTERS)
def test_numbers_are_read_and_written_as_ctypes_does(ctx, letter):
    value, array = ctx.Value(letter), ctx.Array(letter, 3)
    plain = sharedctypes.typecode_to_type[letter]()
    samples = [0, 1, -1, 127, 128, 2**31, 2**63, 2**64 + 5, True]
    if letter in "fd":
        samples += [0.1, -1e300 if letter == "d" else -1e30, float("inf")]
    for sample in samples:
        plain.value = value.value = array[1] = array[-1] = sample
        assert value.value == value.get_obj().value == array[1] == array[2] == plain.value
        assert type(value.value) is type(plain.value)
    for wrong in ("x", None, 1 + 2j):
        with pytest.raises(TypeError):
            value.value = wrong
        with pytest.raises(TypeError):
            array[0] = wrong
    assert array[:2] == [0, plain.value]
    for outside in (3, -4, 2**70):
        with pytest.raises(IndexError):
            array[outside]
        with pytest.raises(IndexError):
            array[outside] = 0
    with pytest.raises(TypeError):
        del array[0]
    with pytest.raises(AttributeError):
        del value.value
    assert isinstance(value, stock.Synchronized) and isinstance(array, stock.SynchronizedArray)


def change(value, array, large, text, point, raw):
    with value:
        value.value += 1
    array[1] = 7
    large[5] = 2.5
    text.value = b"child"
    point.x, raw[0] = 3, 9


def test_children_see_the_same_memory(ctx):
    things = (
        *(ctx.Value("i", 5), ctx.Array("h", [1, 2, 3]), ctx.Array("d", LARGE), ctx.Array("c", 10)),
        *(ctx.Value(Point, 1, 2.0), ctx.RawArray("q", 2)),
    )
    child = ctx.Process(target=change, args=things)
    child.start()
    child.join()
    assert child.exitcode == 0
    value, array, large, text, point, raw = things
    assert (value.value, array[:], large[5], large[6], text.value) == (6, [1, 7, 3], 2.5, 0.0, b"child")
    assert (point.x, point.y, list(raw)) == (3, 2.0, [9, 0])


def test_any_lock_will_do(ctx):
    class Counting:
        def __init__(self):
            self.taken = self.released = 0

        def acquire(self):
            self.taken += 1

        def release(self):
            self.released += 1

    lock = Counting()
    value = sharedctypes.synchronized(ctx.RawValue("i", 3), lock)
    value.value += 1
    assert (value.value, lock.taken, lock.released) == (4, 3, 3)
    assert value.get_lock() is lock
    for lock in (ctx.Lock(), ctx.RLock(), threading.Lock()):
        array = ctx.Array("i", range(3), lock=lock)
        array[0] = 5
        assert array[0] == 5 and array.get_lock() is lock
    assert not hasattr(ctx.Value("i", lock=False), "get_lock")
    with pytest.raises(AttributeError):
        ctx.Value("i", lock="no lock")
    with pytest.raises(AssertionError):
        sharedctypes.synchronized(value)


def access(value, array, told):
    told.send(sleeps())
    return value.value, array[0]


def test_an_access_waits_for_the_lock(ctx):
    value, array = ctx.Value("i", 1), ctx.Array("i", [1])
    told, tell = ctx.Pipe(duplex=False)

    def child_that_waits():
        child = ctx.Process(target=access, args=(value, array, tell))
        child.start()
        until_asleep(child.pid, told.recv())
        return child

    # The holder itself does not wait.
    with value.get_lock():
        value.value = 2
        child = child_that_waits()
        value.value = 3
    assert child.result() == (3, 1)
    with array.get_lock():
        array[0] = 2
        child = child_that_waits()
        array[0] = 3
    assert child.result() == (3, 3)


def hold_and_die(value):
    value.get_lock().acquire()
    os.kill(os.getpid(), signal.SIGKILL)


def test_an_owner_that_died_is_told_of_once(ctx):
    value = ctx.Value("i", 4)
    child = ctx.Process(target=hold_and_die, args=(value,))
    child.start()
    child.join()
    with pytest.raises(allcores.OwnerDiedError):
        value.value
    assert value.value == 4


def test_views_of_numpy_keep_the_memory(ctx):
    numpy = pytest.importorskip("numpy")
    for length in (4, LARGE):
        array = ctx.Array("d", length)
        view = numpy.frombuffer(array.get_obj())
        view[:] = 1.5
        assert array[length - 1] == 1.5
        del array
        gc.collect()
        assert view.sum() == 1.5 * length


def test_memory_is_zeroed_and_goes_back(ctx):
    def descriptors():
        return len(os.listdir("/proc/self/fd"))

    ctx.Array("i", 1)
    before = descriptors()
    for _ in range(50):
        for length in (10, LARGE):
            array = ctx.RawArray("i", length)
            assert not any(array[:10])
            array[0] = 1
            del array
    gc.collect()
    assert descriptors() == before


def test_copies_and_odd_sizes(ctx):
    point = ctx.RawValue(Point, 1, 2.5)
    again = sharedctypes.copy(point)
    point.x = 9
    assert (again.x, again.y) == (1, 2.5)
    assert len(ctx.Array("i", 0)) == 0
    with pytest.raises(ValueError):
        ctx.RawArray("i", -1)
    with pytest.raises((OSError, OverflowError)):
        ctx.RawArray("q", 1 << 50)


def test_it_travels_to_children_only(ctx):
    from multiprocessing.reduction import ForkingPickler

    for thing in (ctx.Value("i"), ctx.Array("i", 2), ctx.RawArray("i", LARGE)):
        with pytest.raises(RuntimeError):
            ForkingPickler.dumps(thing)


def test_every_name_of_the_interpreters_module():
    for name in vars(stock):
        if not name.startswith("_") and name not in ("heap", "get_context"):
            assert hasattr(sharedctypes, name), name
