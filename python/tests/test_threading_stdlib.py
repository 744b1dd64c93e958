"""CPython's own tests of the primitives, on ours."""

import pytest

import allcores.threading as threading

lock_tests = pytest.importorskip("test.lock_tests", reason="this interpreter came without its tests")


class TestLock(lock_tests.LockTests):
    locktype = staticmethod(threading.Lock)


class TestRLock(lock_tests.RLockTests):
    locktype = staticmethod(threading.RLock)


class TestConditionAsRLock(lock_tests.RLockTests):
    locktype = staticmethod(threading.Condition)
    # As in the interpreter's own run of these tests: a Condition has no such method.
    test_recursion_count = None


class TestEvent(lock_tests.EventTests):
    eventtype = staticmethod(threading.Event)


class TestCondition(lock_tests.ConditionTests):
    condtype = staticmethod(threading.Condition)


class TestSemaphore(lock_tests.SemaphoreTests):
    semtype = staticmethod(threading.Semaphore)


class TestBoundedSemaphore(lock_tests.BoundedSemaphoreTests):
    semtype = staticmethod(threading.BoundedSemaphore)


class TestBarrier(lock_tests.BarrierTests):
    barriertype = staticmethod(threading.Barrier)
