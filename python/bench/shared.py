"""M1–M6: the primitives that processes share."""

import multiprocessing
import time

from harness import Paired, Statement, figure

import allcores.multiprocessing

STOCK = multiprocessing.get_context("fork")
OURS = allcores.multiprocessing.get_context("fork")
SIDES = {"stock": STOCK, "allcores": OURS}
ALL = ("same", "cross", "none")
PAIR = "x.acquire(); x.release()"
WITH = "with x: pass"


def _each(statement, make):
    return {name: Statement(statement, x=make(ctx)) for name, ctx in SIDES.items()}


@figure("M1", "Lock: acquire, release", 1.0, 1.2)
def lock(_):
    return _each(PAIR, lambda c: c.Lock())


@figure("M1", "RLock: acquire, release", 1.0, 1.2)
def rlock(_):
    return _each(PAIR, lambda c: c.RLock())


@figure("M1", "Semaphore: acquire, release", 1.0, 1.2)
def semaphore(_):
    return _each(PAIR, lambda c: c.Semaphore(1))


@figure("M1", "with Lock", 3, 6)
def with_lock(_):
    return _each(WITH, lambda c: c.Lock())


@figure("M1", "with RLock", 3, 6)
def with_rlock(_):
    return _each(WITH, lambda c: c.RLock())


@figure("M1", "with Semaphore", 3, 6)
def with_semaphore(_):
    return _each(WITH, lambda c: c.Semaphore(1))


@figure("M2", "Event: is_set", 12, 20)
def is_set(_):
    return _each("x.is_set()", lambda c: c.Event())


@figure("M2", "Event: set, wait, clear", 12, 20)
def event(_):
    return _each("x.set(); x.wait(); x.clear()", lambda c: c.Event())


JUDGED = {"same": (2, 3.5), "cross": (5, 30)}


@figure("M3", "Condition: there and back", pins=ALL, judged=JUDGED)
def condition(pin):
    def made(ctx):
        condition, turn = ctx.Condition(), ctx.RawValue("i", 0)

        def part(me):
            def run(n):
                for _ in range(n):
                    with condition:
                        while turn.value != me:
                            condition.wait()
                        turn.value = 1 - me
                        condition.notify()

            return run

        return Paired(ctx, part(0), part(1), where=pin)

    return {name: made(ctx) for name, ctx in SIDES.items()}


@figure("M3", "Event: there and back", pins=ALL, judged=JUDGED)
def events(pin):
    def made(ctx):
        a, b = ctx.Event(), ctx.Event()

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

        return Paired(ctx, mine, theirs, where=pin)

    return {name: made(ctx) for name, ctx in SIDES.items()}


@figure("M3", "Barrier of two", pins=ALL, judged=JUDGED)
def barrier(pin):
    def made(ctx):
        barrier = ctx.Barrier(2)

        def part(n):
            for _ in range(n):
                barrier.wait()

        return Paired(ctx, part, part, where=pin)

    return {name: made(ctx) for name, ctx in SIDES.items()}


@figure("Z", "mp Semaphore: there and back", pins=ALL)
def semaphores(pin):
    def made(ctx):
        a, b = ctx.Semaphore(0), ctx.Semaphore(0)

        def mine(n):
            for _ in range(n):
                a.release()
                b.acquire()

        def theirs(n):
            for _ in range(n):
                a.acquire()
                b.release()

        return Paired(ctx, mine, theirs, where=pin)

    return {name: made(ctx) for name, ctx in SIDES.items()}


@figure("M4", "Lock: two processes contend", pins=ALL, judged={"cross": (1.3, 2)}, fresh_rounds=15)
def contended(pin):
    def made(ctx):
        lock = ctx.Lock()

        def part(n):
            acquire, release = lock.acquire, lock.release
            for _ in range(n):
                acquire()
                release()

        def mine(n):
            # Until both are through: the one that is favoured does not decide.
            began = time.perf_counter()
            part(n)
            paired.partners[0].done()
            took = time.perf_counter() - began
            paired.partners[0].go(0)
            return took / 2

        paired = Paired(ctx, mine, part, where=pin)
        return paired

    return {name: made(ctx) for name, ctx in SIDES.items()}


@figure("M5", "Value: x.value += 1", 2, 3)
def value(_):
    return _each("x.value += 1", lambda c: c.Value("i", 0))


@figure("M5", "Value: with its lock, x.value += 1", 2, 3)
def value_locked(_):
    return _each("with x.get_lock(): x.value += 1", lambda c: c.Value("i", 0))


@figure("M5", "Array: x[1]", 3, 6)
def array(_):
    return _each("x[1]", lambda c: c.Array("i", 4))


def _construct(name, statement="Make()"):
    return {side: Statement(statement, Make=getattr(ctx, name)) for side, ctx in SIDES.items()}


@figure("M6", "Lock()", 8, 20)
def new_lock(_):
    return _construct("Lock")


@figure("M6", "Event()", 15, 40)
def new_event(_):
    return _construct("Event")


@figure("M6", "Queue()", 3, 5)
def new_queue(_):
    return _construct("Queue", "Make().close()")
