"""What is tested, object by object, and whether it is ours: `names.py` prints the table as JSON.

A re-export counts as nothing: an object is ours if its type is not one of the interpreter's, and the operations that
make it what it is are not inherited from one.
"""

import importlib
import json
import os
import re
import sys

#: The operations that make an object what it is; where they come from decides.
LOCK = "acquire release __enter__ __exit__"
OPERATIONS = {
    "threading.Lock": LOCK + " locked",
    "threading.RLock": LOCK,
    "threading.Condition": "wait notify notify_all",
    "threading.Semaphore": LOCK,
    "threading.BoundedSemaphore": LOCK,
    "threading.Event": "set clear is_set wait",
    "threading.Barrier": "wait reset abort",
    # These extend the interpreter's, by design: what they add is ours.
    "threading.Thread": "result exception",
    "threading.Timer": "result exception",
    "queue.Queue": "put get qsize join task_done",
    "queue.LifoQueue": "put get",
    "queue.PriorityQueue": "put get",
    "queue.SimpleQueue": "put get",
    "Lock": LOCK,
    "RLock": LOCK,
    "Semaphore": LOCK,
    "BoundedSemaphore": LOCK,
    "Condition": "wait notify notify_all",
    "Event": "set clear is_set wait",
    "Barrier": "wait reset abort",
    "Queue": "put get qsize close",
    "JoinableQueue": "put get task_done join",
    "SimpleQueue": "put get empty close",
    "Connection": "send recv send_bytes recv_bytes recv_bytes_into poll close fileno",
    "Listener": "accept",
    # Extends the interpreter's BaseProcess, by design.
    "Process": "result",
    # They extend the interpreter's wrappers: the access is ours, and the memory (RawValue, RawArray).
    "Value": "value",
    "Array": "__getitem__ __setitem__",
}

#: Functions: ours if they are not the interpreter's.
FUNCTIONS = ["Client", "wait", "Pipe", "RawValue", "RawArray"]

#: Which objects a test class is about; the first match counts. `None`: not ours yet, the interpreter's code on our parts.
TESTED = [
    ("threading", "^LockTests", ["threading.Lock"]),
    ("threading", "^(C|Py)RLockTests", ["threading.RLock"]),
    ("threading", "EventTests", ["threading.Event"]),
    ("threading", "ConditionAsRLock", ["threading.Condition", "threading.RLock"]),
    ("threading", "ConditionTests", ["threading.Condition"]),
    ("threading", "BoundedSemaphore", ["threading.BoundedSemaphore"]),
    ("threading", "SemaphoreTests", ["threading.Semaphore"]),
    ("threading", "BarrierTests", ["threading.Barrier"]),
    ("threading", "TimerTests", ["threading.Timer"]),
    ("threading", "", ["threading.Thread"]),
    ("queue", "SimpleQueue", ["queue.SimpleQueue"]),
    ("queue", "LifoQueue", ["queue.LifoQueue"]),
    ("queue", "PriorityQueue", ["queue.PriorityQueue"]),
    ("queue", "", ["queue.Queue"]),
    ("mp", "Process|TestStdinBad|TestTimeouts|TestCloseFds|TestIgnoreEINTR", ["Process"]),
    ("mp", "TestSimpleQueue", ["SimpleQueue"]),
    ("mp", "TestQueue", ["Queue", "JoinableQueue"]),
    ("mp", "TestLock", ["Lock", "RLock"]),
    ("mp", "TestSemaphore", ["Semaphore", "BoundedSemaphore"]),
    ("mp", "TestCondition", ["Condition"]),
    ("mp", "TestEvent", ["Event"]),
    ("mp", "TestBarrier", ["Barrier"]),
    ("mp", "TestValue", ["Value", "RawValue"]),
    ("mp", "TestArray", ["Array", "RawArray"]),
    ("mp", "TestSharedCTypes", ["Value", "Array", "RawValue", "RawArray"]),
    ("mp", "Listener|ChallengeResponse|OtherTest|TestInvalidFamily", ["Listener", "Client"]),
    ("mp", "TestConnection|TestPoll|TestPicklingConnections|TestInvalidHandle", ["Connection", "wait"]),
    ("mp", "TestWait", ["wait"]),
    ("mp", "", None),
]


def about(suite, cls):
    """(kind, names): kind is "proved" where names are to be ours, "mixin" for threads and managers, else "later"."""
    if suite.startswith("mp") and re.match("With(Threads|Manager)", cls):
        return "mixin", []
    cls = cls.removeprefix("WithProcesses")
    for of, pattern, names in TESTED:
        if suite.startswith(of) and re.search(pattern, cls):
            return ("proved", names) if names else ("later", [])
    return "later", []


def _stock_types(stock):
    import _queue
    import _thread

    types = {object, _thread.LockType, _thread.RLock, _queue.SimpleQueue}
    for module in stock.values():
        types.update(value for value in vars(module).values() if isinstance(value, type))
    return types


def _where(cls, operation):
    for base in cls.__mro__:
        if operation in vars(base):
            return base
    return None


def _judge_type(cls, operations, stock):
    """(ours, operations that are ours, all operations, note)"""
    if cls in stock:
        return False, 0, len(operations), "the interpreter's own type"
    foreign = []
    for operation in operations:
        base = _where(cls, operation)
        if base is None:
            foreign.append(f"{operation} (missing)")
        elif base in stock:
            foreign.append(operation)
    note = f"the interpreter's: {', '.join(foreign)}" if foreign else ""
    return not foreign, len(operations) - len(foreign), len(operations), note


def _examples():
    """(name, start method, how to make one)"""
    import multiprocessing
    import queue
    import threading

    for name in OPERATIONS:
        module, _, last = name.rpartition(".")
        if module == "threading":
            args = {"Barrier": (2,), "Timer": (1, print)}.get(last, ())
            yield name, "", lambda last=last, args=args: getattr(threading, last)(*args)
        elif module == "queue":
            yield name, "", lambda last=last: getattr(queue, last)()
    for method in ("fork", "spawn", "forkserver"):
        ctx = multiprocessing.get_context(method)
        args = {"Barrier": (2,), "Value": ("i",), "Array": ("i", 3)}
        for name in OPERATIONS:
            if "." in name:
                continue
            if name == "Connection":
                for duplex in (True, False):
                    for end in (0, 1):
                        yield name, method, lambda ctx=ctx, duplex=duplex, end=end: ctx.Pipe(duplex)[end]
            elif name == "Listener":
                yield name, method, lambda: importlib.import_module("multiprocessing.connection").Listener()
            else:
                yield name, method, lambda ctx=ctx, name=name: getattr(ctx, name)(*args.get(name, ()))


def _function(name):
    import multiprocessing
    import multiprocessing.connection

    if name in ("Client", "wait"):
        return getattr(multiprocessing.connection, name)
    # The context's method, below which the work is done by a function of a module.
    module = {"Pipe": "connection"}.get(name, "sharedctypes")
    return getattr(importlib.import_module(f"multiprocessing.{module}"), name)


def proof():
    """A list of {name, method, ours, operations, of, note}."""
    import allcores_substitute

    allcores_substitute.apply()
    stock = _stock_types(allcores_substitute.STOCK)
    rows = []
    for name, method, make in _examples():
        operations = OPERATIONS[name].split()
        try:
            cls = type(make())
            ours, mine, of, note = _judge_type(cls, operations, stock)
            where = f"{cls.__module__}.{cls.__qualname__}"
        except Exception as error:
            ours, mine, of, note, where = False, 0, len(operations), f"{type(error).__name__}: {error}", ""
        rows.append(dict(name=name, method=method, ours=ours, operations=mine, of=of, type=where, note=note))
    theirs = {id(value) for module in allcores_substitute.STOCK.values() for value in vars(module).values()}
    for name in FUNCTIONS:
        try:
            function = _function(name)
            ours = id(function) not in theirs
            note, where = "" if ours else "the interpreter's own", getattr(function, "__module__", "")
        except Exception as error:
            ours, note, where = False, f"{type(error).__name__}: {error}", ""
        rows.append(dict(name=name, method="", ours=ours, operations=int(ours), of=1, type=str(where), note=note))
    return rows


if __name__ == "__main__":
    # Some of these objects end processes and remove files at exit, in a temporary folder.
    json.dump(proof(), sys.stdout)
    sys.stdout.flush()
    os._exit(0)
