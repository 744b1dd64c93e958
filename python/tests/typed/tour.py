"""The tour of the README and of docs/python.md with types: `mypy --strict` accepts it, and it runs."""

import ctypes
import multiprocessing as stock
import queue as stock_queue
import signal
from concurrent.futures import ProcessPoolExecutor
from typing import assert_type

import allcores
from allcores import OwnerDiedError, multiprocessing, queue, threading
from allcores.multiprocessing.connection import Client, Connection, Listener, wait
from allcores.multiprocessing.context import BaseContext, ForkContext, ForkServerContext, SpawnContext
from allcores.multiprocessing.pool import Pool
from allcores.multiprocessing.queues import JoinableQueue, Queue, SimpleQueue
from allcores.multiprocessing.sharedctypes import Synchronized, SynchronizedArray, SynchronizedString
from allcores.multiprocessing.synchronize import Barrier, Condition, Event, Lock, RLock, Semaphore
from allcores.threading import Thread


def threads() -> None:
    thread = Thread(target=sum, args=([1, 2, 3],))
    thread.start()
    assert thread.result() == 6
    assert thread.exception() is None
    lock = threading.Lock()
    condition = threading.Condition(lock)
    with condition:
        assert_type(condition.wait_for(lambda: 3, timeout=1.0), int)
    numbers: queue.Queue[int] = queue.Queue(maxsize=2)
    numbers.put(1)
    assert_type(numbers.get(timeout=1.0), int)
    numbers.shutdown()
    try:
        numbers.put(2)
    except queue.ShutDown:
        pass
    plain: stock_queue.Queue[int] = numbers
    assert plain.empty()
    words: queue.SimpleQueue[str] = queue.SimpleQueue()
    words.put("word")
    assert_type(words.get(), str)


def work(number: int, lock: Lock, numbers: "multiprocessing.Queue[int]") -> int:
    with lock:
        numbers.put(number * number)
    return number


def processes() -> None:
    lock = multiprocessing.Lock()
    assert_type(lock, Lock)
    numbers: multiprocessing.Queue[int] = multiprocessing.Queue()
    workers = [multiprocessing.Process(target=work, args=(number, lock, numbers)) for number in range(4)]
    for worker in workers:
        worker.start()
    print(sorted(numbers.get() for _ in workers), [worker.result(timeout=60) for worker in workers])
    assert workers[0].exception() is None
    assert_type(workers[0].exitcode, int | None)


def contexts() -> None:
    assert_type(multiprocessing.get_context("fork"), ForkContext)
    assert_type(multiprocessing.get_context("spawn"), SpawnContext)
    context = multiprocessing.get_context("forkserver")
    assert_type(context, ForkServerContext)
    assert_type(context.Lock(), Lock)
    assert_type(context.RLock(), RLock)
    assert_type(context.Semaphore(2), Semaphore)
    assert_type(context.Event(), Event)
    assert_type(context.Barrier(2), Barrier)
    assert_type(context.Condition(context.Lock()), Condition)
    squares: Queue[int] = context.Queue(3)
    tasks: JoinableQueue[str] = context.JoinableQueue()
    simple: SimpleQueue[bytes] = context.SimpleQueue()
    assert squares.empty() and tasks.forget_lost() == 0 and simple.empty()
    # Whoever takes a context of the interpreter's takes ours.
    theirs: stock.context.BaseContext = context
    ours: BaseContext = context.get_context()
    assert theirs is ours
    with ProcessPoolExecutor(1, mp_context=context) as executor:
        assert_type(executor.submit(abs, -1).result(), int)
    with context.Pool(1) as pool:
        assert_type(pool, Pool)
        assert_type(pool.map(abs, [-1, 2]), list[int])
    with context.Manager() as manager:
        manager.dict(one=1)


def data() -> None:
    count = multiprocessing.Value(ctypes.c_int, 3)
    assert_type(count, "Synchronized[int]")
    with count.get_lock():
        count.value += 1
    numbers = multiprocessing.Array(ctypes.c_double, 3)
    assert_type(numbers, "SynchronizedArray[float]")
    assert_type(numbers[0], float)
    assert_type(numbers[:2], list[float])
    numbers[1] = 1.5
    assert_type(multiprocessing.Value(ctypes.c_int, 3, lock=False), ctypes.c_int)
    text = multiprocessing.Array(ctypes.c_char, b"text")
    assert_type(text, SynchronizedString)
    assert text.value == b"text"


def connections() -> None:
    one, other = multiprocessing.Pipe()
    one.send("hello")
    assert_type(one, Connection)
    assert wait([other], timeout=60) == [other]
    assert other.recv() == "hello"
    with Listener() as listener:
        client = Client(listener.address)
        server = listener.accept()
        client.send_bytes(b"1")
        assert_type(server.recv_bytes(), bytes)


def unlucky(lock: Lock, held: Event) -> None:
    lock.acquire()
    held.set()
    signal.pause()


def deaths() -> None:
    context = multiprocessing.get_context("fork")
    lock, held = context.Lock(), context.Event()
    process = context.Process(target=unlucky, args=(lock, held))
    process.start()
    held.wait()
    process.kill()
    try:
        lock.acquire()
    except OwnerDiedError as error:
        assert_type(error.pid, int | None)
    assert_type(lock.acquire(timeout=5), bool)
    lock.release()


if __name__ == "__main__":
    allcores.install()
    allcores.uninstall()
    print(allcores.__version__)
    for part in (threads, processes, contexts, data, connections, deaths):
        part()
