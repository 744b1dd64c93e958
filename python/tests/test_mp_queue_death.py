"""Queues between processes when somebody dies, and when somebody forks."""

import os
import threading

import pytest
from asleep import sleeps, until_asleep
from queue_kit import PATIENCE, ended_well, start

import allcores
from allcores.multiprocessing import get_context


def work(box, report):
    while True:
        box.get()
        report.put(os.getpid())
        box.task_done()


def hold(box, report):
    box.get()
    report.put("got")
    threading.Event().wait()


def test_join_waits_for_every_task(ctx):
    box, report = ctx.JoinableQueue(), ctx.Queue()
    workers = [start(ctx, work, box, report) for _ in range(2)]
    for n in range(50):
        box.put(n)
    box.join()
    assert report.qsize() == 50
    with pytest.raises(ValueError, match="too many times"):
        box.task_done()
    for worker in workers:
        worker.kill()
        worker.join()
    box.put(1)
    assert box.get() == 1
    box.task_done()
    box.join()


def test_join_ends_when_a_consumer_was_killed_between_get_and_task_done(ctx):
    box, report = ctx.JoinableQueue(), ctx.Queue()
    process = start(ctx, hold, box, report)
    box.put("item")
    assert report.get(timeout=PATIENCE) == "got"
    failed = []

    def join():
        try:
            box.join()
        except allcores.ItemsLostError as error:
            failed.append(error.count)

    joiner = threading.Thread(target=join)
    joiner.start()
    process.kill()
    joiner.join(PATIENCE)
    assert failed == [1]
    assert box.forget_lost() == 1
    box.join()


def wait_for_ever(box, report):
    report.put(sleeps())
    box.get()


def put_for_ever(box, report):
    report.put("putting")
    while True:
        box.put([b"x" * 1000])


def test_a_consumer_killed_while_it_waits_takes_nothing_along(ctx):
    box, report = ctx.Queue(), ctx.Queue()
    for _ in range(3):
        process = start(ctx, wait_for_ever, box, report)
        until_asleep(process.pid, report.get(timeout=PATIENCE))
        process.kill()
        process.join()
        box.put("item")
        assert box.get(timeout=PATIENCE) == "item"


def test_a_producer_killed_while_it_puts_stops_nobody(ctx):
    box, report = ctx.Queue(5), ctx.Queue()
    process = start(ctx, put_for_ever, box, report)
    report.get(timeout=PATIENCE)
    for _ in range(20):
        assert len(box.get(timeout=PATIENCE)[0]) == 1000
    process.kill()
    process.join()
    while not box.empty():
        assert len(box.get(timeout=PATIENCE)[0]) == 1000
    box.put(1, timeout=PATIENCE)
    assert box.get(timeout=PATIENCE) == 1


def test_fork_while_another_thread_uses_the_queue():
    ctx = get_context("fork")
    box, back = ctx.Queue(), ctx.Queue()
    stop = threading.Event()

    def busy():
        while not stop.is_set():
            box.put([1])
            box.get()

    threads = [threading.Thread(target=busy) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for n in range(10):
            process = start(ctx, forked, box, back, n)
            assert back.get(timeout=PATIENCE) == n
            ended_well(process)
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def forked(box, back, n):
    box.put([1])
    box.get()
    back.put(n)
