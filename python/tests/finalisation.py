"""A program that ends while daemon threads wait: `finalisation.py KIND [DELAY]`; see `test_finalisation.py`.

A daemon thread that wants the interpreter back while it is being torn down must not get it, and is either ended by
`pthread_exit` (before Python 3.14) or hangs. Neither may unwind through our code, nor hold what the main thread needs.

The main thread ends when every loop has come round once, and after DELAY thousands of additions more, so that the end comes at
another moment of the loops each time. Nothing may be written, and the exit code is 0.
"""

import queue as stock_queue
import sys
import threading as stock

# ---- allcores.threading


class Foreign:
    """A lock of somebody else's."""

    def __init__(self):
        self._lock = stock.Lock()
        self.acquire, self.release = self._lock.acquire, self._lock.release

    def __enter__(self):
        return self.acquire()

    def __exit__(self, *exc_info):
        self.release()


def held(lock):
    lock.acquire()
    return lock


def work():
    sum(range(30))


def turns(lock):
    """Two threads that take turns, so that they find it taken."""

    def turn():
        with lock:
            work()

    return [turn, turn]


def waits_and_notifies(condition):
    def wait():
        with condition:
            condition.wait(0.0005)
            condition.notify()

    return wait


def waits_for(condition):
    def wait():
        with condition:
            condition.wait_for(lambda: work(), 0.0005)

    return wait


def meets(barrier):
    def meet():
        try:
            barrier.wait(0.0005)
        except stock.BrokenBarrierError:
            barrier.reset()

    return meet


def expecting(exception, function, *args, **kwargs):
    def call():
        try:
            function(*args, **kwargs)
        except exception:
            pass

    return call


def primitives(module):
    """Loops over the primitives of `allcores.threading` or of `allcores.multiprocessing`."""
    lock, rlock, semaphore = held(module.Lock()), held(module.RLock()), module.Semaphore(0)
    bounded, event, alone = held(module.BoundedSemaphore(1)), module.Event(), module.Barrier(1, work)
    return [
        lambda: lock.acquire(timeout=0.0005),
        lambda: rlock.acquire(timeout=0.0005),
        lambda: semaphore.acquire(timeout=0.0005),
        lambda: bounded.acquire(timeout=0.0005),
        lambda: event.wait(0.0005),
        waits_and_notifies(module.Condition()),
        waits_and_notifies(module.Condition(module.Lock())),
        waits_and_notifies(module.Condition(stock.Lock())),
        waits_for(module.Condition()),
        meets(module.Barrier(3)),
        alone.wait,
        *turns(module.Lock()),
        *turns(module.RLock()),
        *turns(module.Semaphore(1)),
        *turns(module.Condition()),
        # Made and dropped.
        lambda: module.Lock().acquire(timeout=0.0005),
        lambda: module.Semaphore(0).acquire(timeout=0.0005),
        lambda: module.Event().wait(0.0005),
    ]


def started(thread):
    """Starts it, unless the interpreter is about to end: CPython 3.12 refuses it while daemon threads still run."""
    try:
        thread.start()
    except RuntimeError as error:
        if "at interpreter shutdown" not in str(error):
            raise
        return False
    return True


def of_threading():
    import allcores.threading as threading

    def start():
        thread = threading.Thread(target=work, daemon=True)
        if started(thread):
            expecting(TimeoutError, thread.result, 0.0005)()

    def time():
        timer = threading.Timer(0, work)
        timer.daemon = True
        if started(timer):
            timer.join(0.0005)

    blocked = threading.Thread(target=threading.Event().wait, daemon=True)
    blocked.start()
    return [
        *primitives(threading),
        waits_and_notifies(threading.Condition(Foreign())),
        start,
        time,
        lambda: blocked.join(0.0005),
        expecting(TimeoutError, blocked.result, 0.0005),
    ]


# ---- allcores.queue


def of_queue():
    from allcores import queue

    def loops(kind):
        empty, moved = kind(), kind()

        def move():
            moved.put(1)
            moved.get()

        yield expecting(queue.Empty, empty.get, timeout=0.0005)
        yield from (move, move)
        if kind is not queue.SimpleQueue:
            full, joined = kind(1), kind(1)
            full.put(0)

            def join():
                joined.put(1)
                joined.get()
                joined.task_done()
                joined.join()

            yield expecting(queue.Full, full.put, 0, timeout=0.0005)
            yield from (join, join)

    class Hooked(queue.Queue):
        """Python code in the midst of it."""

        def _put(self, item):
            work()
            self.queue.append(item)

        def _get(self):
            work()
            return self.queue.popleft()

    kinds = (queue.Queue, queue.LifoQueue, queue.PriorityQueue, queue.SimpleQueue, Hooked)
    return [loop for kind in kinds for loop in loops(kind)]


# ---- allcores.multiprocessing


def of_synchronize():
    import allcores.multiprocessing as multiprocessing

    value, array = multiprocessing.Value("i"), multiprocessing.Array("i", 10)

    def count():
        with value:
            value.value += 1
        array[1] = array[2] + value.value

    return [*primitives(multiprocessing), count, count]


class Slow:
    """Pickled, and made again, by Python code."""

    def __reduce__(self):
        work()
        return Slow, ()


def of_mp_queues():
    import allcores.multiprocessing as multiprocessing

    empty, full, taken = multiprocessing.Queue(), multiprocessing.Queue(1), multiprocessing.Queue(4)
    tasks, simple, quiet = multiprocessing.JoinableQueue(), multiprocessing.SimpleQueue(), multiprocessing.SimpleQueue()
    full.put(0)

    def task():
        tasks.put([b"x" * 20_000])
        tasks.get(timeout=30)
        tasks.task_done()

    def move(queue, message):
        queue.put(message)
        queue.get()

    return [
        expecting(stock_queue.Empty, empty.get, timeout=0.0005),
        expecting(stock_queue.Full, full.put, [1], timeout=0.0005),
        expecting(stock_queue.Full, full.put, b"x" * 100_000, timeout=0.0005),
        lambda: move(taken, [1, "two"]),
        lambda: move(taken, Slow()),
        lambda: move(taken, b"x" * 2_000_000),
        task,
        tasks.join,
        lambda: move(simple, [1, "two"]),
        lambda: move(simple, Slow()),
        lambda: quiet._reader.poll(0.0005),
        # Made and dropped.
        lambda: move(multiprocessing.Queue(), 1),
    ]


def of_connection():
    from allcores.multiprocessing.connection import Client, Listener, Pipe, wait

    quiet, _other = Pipe()
    left, right = Pipe()
    reader, writer = Pipe(False)
    bytes_read, bytes_written = Pipe(False)
    pair = [end for duplex in (True, False) for end in Pipe(duplex)]
    served, idle = Listener(authkey=b"key"), Listener()

    def there_and_back():
        right.send([1, Slow()])
        left.recv()

    def serve():
        with served.accept() as connection:
            connection.send(connection.recv())

    def call():
        with Client(served.address, authkey=b"key") as connection:
            connection.send("question")
            connection.recv()

    def drop():
        one, two = Pipe()
        two.close()
        one.poll(0.0005)

    return [
        lambda: quiet.poll(0.0005),
        lambda: wait([quiet, left, *pair[:1]], 0.0005),
        lambda: wait([quiet], 0.0005),
        there_and_back,
        lambda: writer.send(b"x" * 500_000),
        reader.recv,
        lambda: bytes_written.send_bytes(bytes(3_000)),
        lambda: bytes_read.recv_bytes_into(bytearray(4_000)),
        # A listener of Unix is gone, its file with it, some time before the interpreter is.
        expecting((OSError, EOFError), serve),
        expecting((OSError, EOFError), call),
        drop,
        # Never come round: what waits for ever when the end comes.
        Blocked(quiet.recv),
        Blocked(pair[0].recv_bytes),
        Blocked(idle.accept),
    ], [_other, pair]


class Blocked:
    """A step that never returns."""

    def __init__(self, function):
        self.function = function

    def __call__(self):
        self.function()


# ---- processes


def of_process():
    """Waits for processes; what is still running at the end is ended with us."""
    import allcores.multiprocessing as multiprocessing
    from allcores.multiprocessing import connection

    context = multiprocessing.get_context("fork")
    process = context.Process(target=blocked_for_ever, daemon=True)
    process.start()
    return [
        lambda: process.join(0.0005),
        lambda: connection.wait([process.sentinel], 0.0005),
        # It is killed some time before the interpreter has ended.
        expecting(multiprocessing.ProcessError, process.result, 0.0005),
        process.is_alive,
        lambda: process.exitcode,
        multiprocessing.active_children,
    ]


def blocked_for_ever():
    stock.Event().wait()


def of_children():
    """The same in children; those that are spawned tear an interpreter of their own down, the others leave it standing."""
    import allcores.multiprocessing as multiprocessing

    for method in ("fork", "spawn", "forkserver"):
        children = [
            multiprocessing.get_context(method).Process(target=run, args=(kind, delay))
            for delay, kind in enumerate(("threading", "queue", "synchronize", "mp_queues", "connection"))
        ]
        for child in children:
            child.start()
        for child in children:
            child.join()
            if child.exitcode != 0:
                print(f"{method}: exit code {child.exitcode}", flush=True)
    return []


KINDS = {name.removeprefix("of_"): function for name, function in list(globals().items()) if name.startswith("of_")}


def run(kind, delay):
    """Starts the loops of a kind, and returns when each has come round."""
    loops = KINDS[kind]()
    if isinstance(loops, tuple):
        loops, *kept = loops
        KEPT.append(kept)
    began = stock.Semaphore(0)
    # They come round sooner, and want the interpreter back more often.
    sys.setswitchinterval(1e-5)

    def forever(step):
        if isinstance(step, Blocked):
            began.release()
        step()
        began.release()
        while True:
            step()

    for step in loops:
        stock.Thread(target=forever, args=(step,), daemon=True).start()
    for _ in loops:
        began.acquire()
    for _ in range(delay):
        sum(range(1_000))


#: What would be closed if nobody held it.
KEPT = []

if __name__ == "__main__":
    run(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 0)
