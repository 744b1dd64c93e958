"""C1–C4, Q1–Q2: Connections and queues between processes."""

import multiprocessing
import pickle
import shutil
import tempfile
import time

from harness import Paired, figure

import allcores.multiprocessing

STOCK = multiprocessing.get_context("fork")
OURS = allcores.multiprocessing.get_context("fork")
SIDES = {"stock": STOCK, "allcores": OURS}
ALL = ("same", "cross", "none")
SMALL = (1, "two", 3.0)


def _one_way(receive, n):
    """Time a message, by the receiver's clock, from the first to the last of n + 1."""
    receive()
    began = time.perf_counter()
    for _ in range(n):
        receive()
    return time.perf_counter() - began


def _pipe_one_way(ctx, duplex, message, pin, by_bytes=False):
    reader, writer = ctx.Pipe(duplex)

    def theirs(n):
        send = writer.send_bytes if by_bytes else writer.send
        for _ in range(n + 1):
            send(message)

    receive = reader.recv_bytes if by_bytes else reader.recv
    return Paired(ctx, lambda n: _one_way(receive, n), theirs, where=pin)


def _pipes_one_way(duplex, message, pin, by_bytes=False):
    return {name: _pipe_one_way(ctx, duplex, message, pin, by_bytes) for name, ctx in SIDES.items()}


@figure("C1", "Pipe, duplex: small objects, one way", pins=ALL, judged={"same": (1.4, 1.8), "cross": (1.4, 1.8)})
def duplex(pin):
    return _pipes_one_way(True, SMALL, pin)


@figure("C1", "Pipe, simplex: small objects, one way", pins=ALL, judged={"same": (2, 2.8), "cross": (2, 2.8)})
def simplex(pin):
    return _pipes_one_way(False, SMALL, pin)


def _there_and_back(ctx, send, receive, their_send, their_receive, pin):
    def mine(n):
        for _ in range(n):
            send(SMALL)
            receive()

    def theirs(n):
        for _ in range(n):
            their_send(their_receive())

    return Paired(ctx, mine, theirs, where=pin)


@figure("C2", "Pipe, duplex: there and back", pins=ALL, judged={"same": (1.25, 1.5)})
def duplex_back(pin):
    def made(ctx):
        a, b = ctx.Pipe()
        return _there_and_back(ctx, a.send, a.recv, b.send, b.recv, pin)

    return {name: made(ctx) for name, ctx in SIDES.items()}


@figure("C2", "two Pipes, simplex: there and back", pins=ALL, judged={"same": (1.4, 1.8)})
def simplex_back(pin):
    def made(ctx):
        (a, to_a), (b, to_b) = ctx.Pipe(False), ctx.Pipe(False)
        return _there_and_back(ctx, to_a.send, b.recv, to_b.send, a.recv, pin)

    return {name: made(ctx) for name, ctx in SIDES.items()}


@figure("C3", "Pipe, duplex: 1 MB of bytes", pins=ALL, judged={"cross": (4, 7)}, fresh_rounds=15)
def megabyte(pin):
    return _pipes_one_way(True, b"x" * 1_000_000, pin, by_bytes=True)


@figure("C3", "Pipe, duplex: 64 MB of bytes", pins=("cross",), judged={"cross": (3, 5)})
def many_megabytes(pin):
    return _pipes_one_way(True, b"x" * 64_000_000, pin, by_bytes=True)


def _array():
    import numpy

    return numpy.arange(1_000_000, dtype="f8")


@figure("C4", "Pipe: a numpy array of 8 MB", pins=("same", "cross"), judged={"cross": (2.5, 4)})
def pipe_array(pin):
    return _pipes_one_way(True, _array(), pin)


@figure("C4", "Queue: a numpy array of 8 MB", pins=("same", "cross"), judged={"cross": (5, 10)})
def queue_array(pin):
    message = _array()
    return {name: _stream(ctx, ctx.Queue(), message, pin, window=4) for name, ctx in SIDES.items()}


class Bytes:
    """A queue of cloudtoid-interprocess with pickles in it."""

    def __init__(self, folder, name):
        import cloudtoid_interprocess

        self.module, self.args = cloudtoid_interprocess, (name, 1 << 20, folder)
        self.end = None

    def put(self, item):
        # An end belongs to the process that has made it.
        if self.end is None:
            self.end = self.module.Publisher(*self.args)
        data = pickle.dumps(item)
        while not self.end.try_send(data):
            time.sleep(0)

    def get(self):
        if self.end is None:
            self.end = self.module.Subscriber(*self.args)
        return pickle.loads(self.end.receive())


def _peers(make, count=1, several=False):
    """Other packages' queues, `count` of each, as far as they are installed; `several`: with several consumers."""
    found = {}
    try:
        import faster_fifo

        found["faster-fifo"] = make(*(faster_fifo.Queue(1 << 20) for _ in range(count)))
    except ImportError:
        pass
    if several:
        return found
    try:
        folder = tempfile.mkdtemp(prefix="allcores-bench-")
        found["cloudtoid"] = make(*(Bytes(folder, f"q{number}") for number in range(count)))
        close = found["cloudtoid"].close
        found["cloudtoid"].close = lambda: (close(), shutil.rmtree(folder, ignore_errors=True))
    except ImportError:
        pass
    return found


def _stream(ctx, queue, message, pin, window=None):
    """One producer, one consumer. A window bounds what lies in stock's unbounded buffer: big messages, or many."""
    window = ctx.Semaphore(window) if window else None

    def theirs(n):
        for _ in range(n + 1):
            if window:
                window.acquire()
            queue.put(message)

    def receive():
        item = queue.get()
        if window:
            window.release()
        return item

    return Paired(ctx, lambda n: _one_way(receive, n), theirs, where=pin)


@figure("Q1", "Queue: small objects, 1 to 1", pins=ALL, judged={"cross": (3.5, 5.5)}, peer=1.1)
def stream(pin):
    sides = {name: _stream(ctx, ctx.Queue(), SMALL, pin) for name, ctx in SIDES.items()}
    sides.update(_peers(lambda queue: _stream(STOCK, queue, SMALL, pin)))
    return sides


@figure("Q1", "Queue: small objects, 2 to 2", 3.5, 5.5, pins=("none",), judged={"none": (3.5, 5.5)})
def streams(pin):
    def made(ctx, queue):
        def produce(n):
            for _ in range(n):
                queue.put(SMALL)

        def consume(n):
            for _ in range(n):
                queue.get()

        # Two producers and a consumer beside us; a message counts once.
        paired = Paired(ctx, lambda n: _both(paired, consume, n), produce, produce, consume, where=pin)
        return paired

    def _both(paired, consume, n):
        began = time.perf_counter()
        consume(n)
        for partner in paired.partners:
            partner.done()
        took = time.perf_counter() - began
        for partner in paired.partners:
            partner.go(0)
        return took / 2

    sides = {name: made(ctx, ctx.Queue()) for name, ctx in SIDES.items()}
    sides.update(_peers(lambda queue: made(STOCK, queue), several=True))
    return sides


@figure("Q2", "Queue: there and back", pins=ALL, judged={"same": (3, 4.5), "cross": (5, 30)}, peer=1.0)
def queues_back(pin):
    def made(ctx, there, back):
        return _there_and_back(ctx, there.put, back.get, back.put, there.get, pin)

    sides = {name: made(ctx, ctx.Queue(), ctx.Queue()) for name, ctx in SIDES.items()}
    sides.update(_peers(lambda a, b: made(STOCK, a, b), 2))
    return sides


@figure("Z", "SimpleQueue: there and back", pins=ALL)
def simple_back(pin):
    def made(ctx):
        there, back = ctx.SimpleQueue(), ctx.SimpleQueue()
        return _there_and_back(ctx, there.put, back.get, back.put, there.get, pin)

    return {name: made(ctx) for name, ctx in SIDES.items()}
