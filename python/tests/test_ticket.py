"""Tickets: what a program shares with another one that it starts by itself."""

import os
import pathlib
import queue
import subprocess
import sys

import pytest

import allcores.multiprocessing as mp
from allcores.multiprocessing.ticket import BytesQueue, Memory, Ticket, received

EXAMPLE = pathlib.Path(__file__).parents[2] / "target" / "debug" / "examples" / "10_rust_and_python"

CHILD = """
from allcores.multiprocessing.ticket import received
ticket = received()
lock, rlock, permits = ticket.lock("lock"), ticket.rlock("rlock"), ticket.semaphore("permits")
words, objects, memory = ticket.bytes_queue("words"), ticket.queue("objects"), ticket.memory("memory")
assert not lock.acquire(False)
with rlock:
    assert permits.acquire(False) and not permits.acquire(False)
word = words.get_bytes(timeout=20)
memory.view()[:len(word)] = word
objects.put({"word": word})
try:
    ticket.lock("lock")
except KeyError as error:
    print("once" in str(error))
"""


def start(command, ticket):
    return subprocess.Popen(
        command, env={**os.environ, **ticket.env}, pass_fds=ticket.pass_fds, stdout=subprocess.PIPE, text=True
    )


def test_python_and_python():
    lock, rlock, permits = mp.Lock(), mp.RLock(), mp.Semaphore(1)
    words, objects, memory = BytesQueue(), mp.Queue(), Memory(8)
    ticket = Ticket(lock=lock, rlock=rlock, permits=permits, words=words, objects=objects, memory=memory)
    lock.acquire()
    child = start([sys.executable, "-c", CHILD], ticket)
    words.put_bytes(b"abc")
    assert objects.get(timeout=30) == {"word": b"abc"}
    assert child.communicate()[0] == "True\n" and child.returncode == 0
    assert memory.view().tobytes() == b"abc" + bytes(5)
    assert permits.get_value() == 0
    with pytest.raises(queue.Empty):
        words.get_bytes(timeout=0)


def test_rust_and_python():
    if not EXAMPLE.exists():
        pytest.skip("cargo build -p allcores --example 10_rust_and_python makes what this needs")
    child = subprocess.run([EXAMPLE], env={**os.environ, "PYTHON": sys.executable}, capture_output=True, text=True)
    assert (child.returncode, child.stderr) == (0, "")
    assert "Rust started Python" in child.stdout and "Python started Rust" in child.stdout


def test_no_ticket(monkeypatch):
    monkeypatch.delenv("ALLCORES_TICKET", raising=False)
    with pytest.raises(RuntimeError, match="no ticket"):
        received()


def test_what_it_does_not_carry():
    with pytest.raises(TypeError, match="not dict"):
        Ticket(thing={})
    with pytest.raises(ValueError, match="segment"):
        Ticket(memory=Memory(4 << 20))
