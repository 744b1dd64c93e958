"""T1–T7: the primitives between threads of one interpreter."""

import queue
import threading
import time

import harness
from harness import Statement, figure

import allcores.threading as ours

try:
    import aiologic
    import fastrlock.rlock
except ImportError:
    aiologic = fastrlock = None

SIDES = {"stock": threading, "allcores": ours}


def _each(statement, make, **peers):
    sides = {name: Statement(statement, x=make(module)) for name, module in SIDES.items()}
    for name, side in peers.items():
        if aiologic is not None:
            sides[name] = side()
    return sides


PAIR = "x.acquire(); x.release()"
WITH = "with x: pass"
GREEN = "x.green_acquire(); x.green_release()"


@figure("T1", "Lock: acquire, release", 2.0, 2.8)
def lock(_):
    return _each(PAIR, lambda m: m.Lock(), aiologic=lambda: Statement(GREEN, x=aiologic.Lock()))


@figure("T1", "RLock: acquire, release", 2.0, 2.8, peer=0.95)
def rlock(_):
    return _each(PAIR, lambda m: m.RLock(), fastrlock=lambda: Statement(PAIR, x=fastrlock.rlock.FastRLock()))


@figure("T2", "with Lock", 1.7, 3.5)
def with_lock(_):
    return _each(WITH, lambda m: m.Lock(), aiologic=lambda: Statement(WITH, x=aiologic.Lock()))


@figure("T2", "with RLock", 1.7, 3.5, peer=1.0)
def with_rlock(_):
    return _each(WITH, lambda m: m.RLock(), fastrlock=lambda: Statement(WITH, x=fastrlock.rlock.FastRLock()))


@figure("T3", "Semaphore: acquire, release", 15, 25, peer=6)
def semaphore(_):
    return _each(PAIR, lambda m: m.Semaphore(1), aiologic=lambda: Statement(GREEN, x=aiologic.Semaphore(1)))


@figure("T3", "BoundedSemaphore: acquire, release", 15, 25, peer=6)
def bounded(_):
    return _each(PAIR, lambda m: m.BoundedSemaphore(1), aiologic=lambda: Statement(GREEN, x=aiologic.BoundedSemaphore(1)))


@figure("T4", "Event: set, wait, clear", 8, 15)
def event(_):
    statement = "x.set(); x.wait(); x.clear()"
    return _each(statement, lambda m: m.Event(), aiologic=lambda: Statement(statement, x=aiologic.REvent()))


@figure("T4", "Event: is_set", 1.0, 1.3)
def is_set(_):
    return _each("x.is_set()", lambda m: m.Event())


@figure("T5", "with Condition: notify, nobody waits", 2.5, 5)
def condition(_):
    statement = "with x: x.notify()"
    return _each(statement, lambda m: m.Condition(), aiologic=lambda: Statement(statement, x=aiologic.Condition()))


class Duet:
    """Two threads that hand each other the turn; `mine(n)` and `theirs(n)` are the two parts."""

    def __init__(self, mine, theirs):
        self.mine, self.theirs = mine, theirs

    def run(self, n):
        # Stock's thread for every side: what is measured is the primitive.
        thread = threading.Thread(target=self._pinned, args=(n,), daemon=True)
        thread.start()
        began = time.perf_counter()
        self.mine(n)
        took = time.perf_counter() - began
        thread.join()
        return took

    def _pinned(self, n):
        harness.pin(harness.where, partner=True)
        self.theirs(n)

    def close(self):
        pass


def _with_signals(signal_of, wait_of, make):
    a, b = make(), make()

    def mine(n):
        signal, wait = signal_of(a), wait_of(b)
        for _ in range(n):
            signal()
            wait()

    def theirs(n):
        signal, wait = signal_of(b), wait_of(a)
        for _ in range(n):
            wait()
            signal()

    return Duet(mine, theirs)


def _taken(lock):
    lock.acquire()
    return lock


ALL = ("same", "cross", "none")
ASKED = {"same": (1.0, 1.2)}


@figure("T6", "Lock: hand-over and back", pins=ALL, judged=ASKED)
def lock_duet(_):
    return {
        name: _with_signals(lambda x: x.release, lambda x: x.acquire, lambda: _taken(module.Lock()))
        for name, module in SIDES.items()
    }


@figure("T6", "Semaphore: hand-over and back", pins=ALL, judged=ASKED, peer=1.0)
def semaphore_duet(_):
    sides = {
        name: _with_signals(lambda x: x.release, lambda x: x.acquire, lambda: module.Semaphore(0))
        for name, module in SIDES.items()
    }
    if aiologic is not None:
        sides["aiologic"] = _with_signals(
            lambda x: x.green_release, lambda x: x.green_acquire, lambda: aiologic.Semaphore(0)
        )
    return sides


@figure("T6", "Event: hand-over and back", pins=ALL, judged={"same": (1.0, 1.4)})
def event_duet(_):
    def made(module):
        a, b = module.Event(), module.Event()

        def mine(n):
            for _ in range(n):
                a.set()
                b.wait()
                b.clear()

        def theirs(n):
            for _ in range(n):
                a.wait()
                a.clear()
                b.set()

        return Duet(mine, theirs)

    return {name: made(module) for name, module in SIDES.items()}


@figure("T6", "Condition: hand-over and back", pins=ALL, judged=ASKED)
def condition_duet(_):
    def made(module):
        condition, turn = module.Condition(), [0]

        def part(me):
            def run(n):
                for _ in range(n):
                    with condition:
                        while turn[0] != me:
                            condition.wait()
                        turn[0] = 1 - me
                        condition.notify()

            return run

        return Duet(part(0), part(1))

    return {name: made(module) for name, module in SIDES.items()}


@figure("T6", "Barrier of two", pins=ALL, judged=ASKED)
def barrier_duet(_):
    def made(module):
        barrier = module.Barrier(2)

        def part(n):
            for _ in range(n):
                barrier.wait()

        return Duet(part, part)

    return {name: made(module) for name, module in SIDES.items()}


def nothing():
    """What threads and processes do that are started to be measured."""


@figure("T7", "Thread: start, join", 1.25, 1.6, pins=("same", "none"), judged={"same": (1.25, 1.6), "none": (1.25, 1.6)})
def thread(_):
    statement = "t = Thread(target=f); t.start(); t.join()"
    return {name: Statement(statement, Thread=module.Thread, f=nothing) for name, module in SIDES.items()}


@figure("Z", "queue.Queue: put, get by one thread")
def queue_alone(_):
    import allcores.queue

    return {
        name: Statement("x.put(1); x.get()", x=module.Queue())
        for name, module in {"stock": queue, "allcores": allcores.queue}.items()
    }


@figure("Z", "queue.SimpleQueue: put, get by one thread")
def simple_queue_alone(_):
    import allcores.queue

    return {
        name: Statement("x.put(1); x.get()", x=module.SimpleQueue())
        for name, module in {"stock": queue, "allcores": allcores.queue}.items()
    }


@figure("Z", "queue.Queue: there and back between threads", pins=ALL)
def queue_duet(_):
    import allcores.queue

    def made(module):
        a, b = module.Queue(), module.Queue()

        def mine(n):
            for _ in range(n):
                a.put(None)
                b.get()

        def theirs(n):
            for _ in range(n):
                a.get()
                b.put(None)

        return Duet(mine, theirs)

    return {name: made(module) for name, module in {"stock": queue, "allcores": allcores.queue}.items()}


@figure("Z", "Lock: two threads in turn, contended", pins=ALL)
def contended(_):
    def made(module):
        lock = module.Lock()

        def part(n):
            for _ in range(n):
                with lock:
                    pass

        return Duet(part, part)

    return {name: made(module) for name, module in SIDES.items()}
