"""The interpreter's executors on our contexts, without install()."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import wait

import pytest

import allcores.multiprocessing as mp


def square(number):
    return number * number


# Not fork, which the executor refuses here.
@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_workers_that_end_after_each_task_break_nothing(method):
    context = mp.get_context(method)
    for _ in range(4 if method == "forkserver" else 1):
        with ProcessPoolExecutor(2, mp_context=context, max_tasks_per_child=1) as executor:
            assert list(executor.map(square, range(12))) == [number * number for number in range(12)]


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_what_was_put_before_the_end_is_seen_before_it(method):
    context = mp.get_context(method)
    queue = context.Queue()
    for number in range(30 if method == "forkserver" else 5):
        process = context.Process(target=queue.put, args=(number,))
        process.start()
        # Whoever sees the end sees the message.
        while process.sentinel not in (ready := wait([queue._reader, process.sentinel])):
            pass
        assert queue._reader in ready
        assert queue.get() == number
        process.join()
