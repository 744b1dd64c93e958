"""Queues between processes and signals, and what else of a program goes on around them."""

import gc
import signal
import threading

import pytest
from queue_kit import PATIENCE, ended_well, plain, start


@pytest.mark.parametrize("wait", ["box.get()", "box.get(timeout=60)", "full.put(1)", "full.put([1], timeout=60)", "box._reader.poll(None)", "join.join()"])
def test_ctrl_c_leaves_every_wait(run_script, wait):
    ended = run_script(f"""
        import signal
        import allcores.multiprocessing as mp
        from asleep import signal_when_asleep
        ctx = mp.get_context("fork")
        box, full, join = ctx.Queue(), ctx.Queue(1), ctx.JoinableQueue()
        full.put(0)
        join.put(0)
        try:
            signal_when_asleep(signal.SIGINT)
            {wait}
            print("not left")
        except KeyboardInterrupt:
            print("left")
        box.put(1)
        assert box.get() == 1 and full.get() == 0
        """)
    assert ended.ok() == "left\n"


def test_a_handler_may_use_the_queue_that_was_interrupted(plain):
    seen = []

    def handler(signum, frame):
        plain.put("from the handler")
        seen.append(signum)

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        main = threading.get_ident()
        thread = threading.Thread(target=lambda: signal.pthread_kill(main, signal.SIGUSR1))
        thread.start()
        assert plain.get(timeout=PATIENCE) == "from the handler"
        thread.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert seen == [signal.SIGUSR1]


def test_process_arguments_are_all_that_keeps_a_queue(ctx):
    box = ctx.Queue()
    left, right = ctx.Pipe()
    process = start(ctx, forward, right, ctx.SimpleQueue(), box)
    gc.collect()
    # Had the child's queue been given back, one of these would lie in its place.
    others = [ctx.SimpleQueue() for _ in range(5)]
    for other in others:
        other.put("for somebody else")
    left.send("go")
    assert box.get(timeout=PATIENCE) == "through a queue of its own"
    ended_well(process)


def forward(right, own, box):
    # Nothing shared is used before the parent has let go.
    right.recv()
    own.put("through a queue of its own")
    box.put(own.get())
