"""Tickets: what a program shares with another one that it starts by itself."""

import ctypes
import os
import pathlib
import queue
import subprocess
import sys

import pytest

import allcores.multiprocessing as mp
from allcores.multiprocessing import synchronize
from allcores.multiprocessing.ticket import Array, BytesQueue, Memory, Ticket, TicketError, Value, received

EXAMPLES = pathlib.Path(__file__).parents[2] / "target" / "debug" / "examples"


def built(name):
    program = EXAMPLES / name
    if not program.exists():
        pytest.skip("cargo build -p allcores --examples makes what this needs")
    return program


class Point(ctypes.Structure):
    _fields_ = [("x", ctypes.c_int), ("y", ctypes.c_int)]


def start(command, ticket):
    return subprocess.Popen(
        command, env={**os.environ, **ticket.env}, pass_fds=ticket.pass_fds, stdout=subprocess.PIPE, text=True
    )


class Shared:
    """One of each kind."""

    def __init__(self):
        self.lock, self.rlock = mp.Lock(), mp.RLock()
        self.semaphore, self.bounded = mp.Semaphore(1), mp.BoundedSemaphore(2)
        self.owned = synchronize.Semaphore(1, owned=True)
        self.event, self.barrier, self.condition = mp.Event(), mp.Barrier(2), mp.Condition(self.rlock)
        self.array, self.value = Array("d", [1.5, 2.5]), Value("i", -3)
        self.raw_array, self.raw_value = mp.RawArray("H", [1, 2, 3]), mp.RawValue("b", 1)
        self.memory, self.segment = Memory(2 << 20), mp.RawArray("b", 3 << 20)
        self.words, self.jobs = BytesQueue(), mp.JoinableQueue()

    def hand_over(self, command):
        """Starts a program that opens all of it, and does its part."""
        self.lock.acquire()
        child = start(command, Ticket(**vars(self)))
        with self.condition:
            self.jobs._writer.send_bytes(b"job")
            assert self.condition.wait(30)
        assert self.event.wait(30)
        assert self.words.get_bytes(timeout=30) == b"done"
        self.barrier.wait(30)
        said = child.communicate()[0].splitlines()
        assert child.returncode == 0
        return said

    def check(self):
        assert self.lock.locked() and self.semaphore.get_value() == 0 and self.owned.get_value() == 1
        assert (self.array[:], self.value.value) == ([1.5, 4.0], -6)
        assert (self.raw_array[:], self.raw_value.value) == ([2, 2, 3], -1)
        assert self.memory.view()[-1] == 7 and self.segment[1] == 5
        self.jobs.join()


#: What a Python program does with all of it, whoever made it.
OPEN = """
from allcores.multiprocessing.ticket import TicketError, received
ticket = received()
for wrong in (
    lambda: ticket.event("lock"),
    lambda: ticket.array("array", "Q"),
    lambda: ticket.array("array", "f"),
    lambda: ticket.value("array"),
    lambda: ticket.memory("array"),
    lambda: ticket.queue("segment"),
    lambda: ticket.joinable_queue("words"),
    lambda: ticket.lock("nothing"),
):
    try:
        wrong()
    except TicketError as error:
        print(error)
    else:
        print("no error")
lock, rlock = ticket.lock("lock"), ticket.rlock("rlock")
assert not lock.acquire(False)
semaphore, bounded, owned = (
    ticket.semaphore("semaphore"), ticket.bounded_semaphore("bounded"), ticket.owned_semaphore("owned")
)
assert semaphore.acquire(False) and not semaphore.acquire(False)
try:
    bounded.release()
except ValueError:
    pass
else:
    raise AssertionError("no bound")
with owned:
    pass
event, barrier, condition = ticket.event("event"), ticket.barrier("barrier"), ticket.condition("condition", rlock)
array, value = ticket.array("array"), ticket.value("value")
with array.get_lock():
    array[1] += array[0]
    with array:
        assert array[:1] == [1.5]
value.value *= 2
memory, segment = ticket.memory("memory").view(), ticket.memory("segment").view()
assert memory.nbytes == 2 << 20 and segment.nbytes == 3 << 20
memory[-1], segment[1] = 7, 5
"""

#: The rest of it.
DONE = """
with condition:
    condition.notify()
jobs = ticket.joinable_queue("jobs")
assert jobs._reader.recv_bytes() == b"job"
jobs.task_done()
event.set()
ticket.bytes_queue("words").put_bytes(b"done")
barrier.wait()
"""

OF_PYTHON = """
raw_array, raw_value = ticket.raw_array("raw_array", "H"), ticket.raw_array("raw_value")
raw_array[0], raw_value[0] = raw_array[1], -1
"""

OF_RUST = """
import ctypes
class Point(ctypes.Structure):
    _fields_ = [("x", ctypes.c_int), ("y", ctypes.c_int)]

try:
    ticket.array("points")
except TicketError as error:
    assert "without saying of which type" in str(error)
try:
    ticket.array("points", ctypes.c_int * 4)
except TicketError as error:
    assert "8-byte elements" in str(error)
points = ticket.array("points", Point)
with points:
    assert points[0].y == 2
    points.get_obj()[1].x = 9
ticket.value("flag", "B").value += 1
raw_array, raw_value = ticket.raw_array("raw"), ticket.raw_value("number")
raw_array[0] = raw_array[1]
raw_value.value += 1
"""


def refused(said):
    """What is said of kinds and types other than those that are there: it names both."""
    assert len(said) in (8, 9)
    lock, long, float_, *others = said
    assert "'lock' is Lock" in lock and "cannot be opened as Event" in lock
    assert "f64, not of u64" in long and "f64, not of f32" in float_
    assert "'nothing'" in others[-1] and "'words'" in others[-2] and "'segment'" in others[-3]
    assert all("cannot be opened as" in text for text in others[:-1])


def test_python_starts_python():
    shared = Shared()
    refused(shared.hand_over([sys.executable, "-c", OPEN + OF_PYTHON + DONE]))
    shared.check()


def test_python_starts_rust():
    shared = Shared()
    refused([line.replace('"', "'") for line in shared.hand_over([built("ticket_peer"), "open"])])
    shared.check()


def test_rust_starts_python():
    program = OPEN + OF_RUST + DONE
    command = [built("ticket_peer"), "start", sys.executable, program]
    child = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (child.returncode, child.stderr) == (0, "")
    refused([line.replace('"', "'") for line in child.stdout.splitlines()])


def test_the_example():
    example = built("10_rust_and_python")
    child = subprocess.run([example], env={**os.environ, "PYTHON": sys.executable}, capture_output=True, text=True)
    assert (child.returncode, child.stderr) == (0, "")
    assert "Rust started Python" in child.stdout and "Python started Rust" in child.stdout


def test_objects_travel_and_are_opened_once():
    objects = mp.Queue()
    program = """
from allcores.multiprocessing.ticket import TicketError, received
ticket = received()
objects = ticket.queue("objects")
objects.put({"word": objects.get(timeout=30)})
try:
    ticket.queue("objects")
except TicketError as error:
    assert "once" in str(error)
"""
    child = start([sys.executable, "-c", program], Ticket(objects=objects))
    objects.put("abc")
    assert child.wait() == 0
    assert objects.get(timeout=30) == {"word": "abc"}


@pytest.mark.parametrize("typecode", "cbBhHiIlLqQfd")
def test_types_of_elements(typecode):
    array, value = Array(typecode, 3), Value(typecode)
    array[1] = value.value = b"x" if typecode == "c" else 1
    assert array[:] == (b"\0x\0" if typecode == "c" else [0, 1, 0])
    opened = Ticket(array=array, value=value)
    assert type(opened.array("array").get_obj()._type_()) is type(array.get_obj()._type_())
    assert opened.value("value", typecode).value == value.value


def test_structures():
    points, origin = Array(Point, 2), Value(Point, 5, 6)
    with points:
        points[1].x = 4
    ticket = Ticket(points=points, origin=origin)
    with pytest.raises(TicketError, match="without saying of which type"):
        ticket.array("points")
    assert ticket.array("points", Point)[1].x == 4
    with pytest.raises(TicketError, match="cannot be opened as Value of c_byte"):
        ticket.value("origin", "b")
    assert (ticket.value("origin", Point).x, origin.y) == (5, 6)


def add(counts, barrier):
    barrier.wait()
    for _ in range(500):
        with counts:
            counts[0] += 1


def test_array_and_its_lock_go_to_children(ctx):
    counts, barrier = Array("i", 2), ctx.Barrier(3)
    children = [ctx.Process(target=add, args=(counts, barrier)) for _ in range(2)]
    for child in children:
        child.start()
    add(counts, barrier)
    for child in children:
        child.join()
    assert counts[:] == [1500, 0]


def test_lock_of_an_array():
    counts = Array("i", 1)
    lock = counts.get_lock()
    with lock, lock:
        assert lock._is_mine() and lock._count() == 2
    assert not lock.locked()
    with pytest.raises(AssertionError):
        lock.release()
    condition = mp.Condition(lock)
    with condition, condition:
        assert not condition.wait(0)
        assert lock._count() == 2
    other = Ticket(counts=counts).array("counts")
    with other:
        assert lock.locked() and not lock.acquire(False) and not lock.acquire(timeout=0.01)
    assert lock.acquire()
    lock.release()


def no_ticket(monkeypatch, text):
    monkeypatch.setenv("ALLCORES_TICKET", text)
    with pytest.raises(TicketError, match="cannot be read") as caught:
        received()
    return str(caught.value)


def test_no_ticket(monkeypatch):
    monkeypatch.delenv("ALLCORES_TICKET", raising=False)
    with pytest.raises(TicketError, match="no ticket"):
        received()


def test_garbled_tickets(monkeypatch):
    ticket = Ticket(lock=mp.Lock())
    arena = ticket.pass_fds[0]
    good = ticket.env["ALLCORES_TICKET"]
    for text in ("", ";", "1;3", "2", "2;", "2;x", "2;-1", "2;1", "2;99999999999", "2;3;", "2;3;=", "2;3;61=62:63"):
        no_ticket(monkeypatch, text)
    for text in (good[:-5] + "::", good.replace("=", "=zz"), good.replace(":", ":+1:"), good + "1"):
        no_ticket(monkeypatch, text)
    assert "descriptor" in no_ticket(monkeypatch, good.replace(f"2;{arena}", "2;987654", 1))
    # No arena; and what it is stays open.
    with open(os.devnull) as other:
        no_ticket(monkeypatch, f"2;{other.fileno()}")
        os.fstat(other.fileno())
    os.fstat(arena)


def test_garbled_entries():
    """Whatever is written over an entry, it is opened or refused."""
    lock = mp.Lock()
    ticket = Ticket(lock=lock)
    whole = ticket._entries["lock"].message
    refusals = 0
    for place in range(len(whole)):
        for bit in (1, 0x80):
            message = bytearray(whole)
            message[place] ^= bit
            ticket._entries["lock"].message = bytes(message)
            with pytest.raises(TicketError, match="'lock' is Lock in the ticket, and cannot be opened as Lock"):
                ticket.lock("lock")
            refusals += 1
    for length in range(len(whole)):
        ticket._entries["lock"].message = whole[:length]
        with pytest.raises(TicketError):
            ticket.lock("lock")
    assert refusals > 40
    ticket._entries["lock"].message = whole
    assert ticket.lock("lock").acquire(False) and lock.locked()


def test_what_it_does_not_carry():
    with pytest.raises(TypeError, match="not dict"):
        Ticket(thing={})
    with pytest.raises(TypeError, match="ticket.Array"):
        Ticket(array=mp.Array("i", 3))
    with pytest.raises(TypeError, match="ticket.Value"):
        Ticket(value=mp.Value("i", 3))
    array = mp.Array("i", 3)
    parts = Ticket(lock=array.get_lock(), numbers=array.get_obj())
    parts.raw_array("numbers", "i")[2] = 5
    assert array[:] == [0, 0, 5]
    with parts.rlock("lock"):
        assert array.get_lock().locked()
    with pytest.raises(queue.Empty):
        BytesQueue().get_bytes(timeout=0)
