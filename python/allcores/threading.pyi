import sys
import threading as _stock
from abc import ABCMeta
from collections.abc import Callable, Iterable, Mapping
from contextvars import Context
from threading import (
    TIMEOUT_MAX as TIMEOUT_MAX,
    BrokenBarrierError as BrokenBarrierError,
    ExceptHookArgs as ExceptHookArgs,
    ThreadError as ThreadError,
    active_count as active_count,
    current_thread as current_thread,
    enumerate as enumerate,
    excepthook as excepthook,
    get_ident as get_ident,
    get_native_id as get_native_id,
    getprofile as getprofile,
    gettrace as gettrace,
    local as local,
    main_thread as main_thread,
    setprofile as setprofile,
    settrace as settrace,
    stack_size as stack_size,
)
from types import TracebackType
from typing import Any, Protocol, TypeVar, final

from typing_extensions import disjoint_base

if sys.version_info >= (3, 12):
    from threading import (
        setprofile_all_threads as setprofile_all_threads,
        settrace_all_threads as settrace_all_threads,
    )

__all__ = [
    "get_ident",
    "active_count",
    "Condition",
    "current_thread",
    "enumerate",
    "main_thread",
    "TIMEOUT_MAX",
    "Event",
    "Lock",
    "RLock",
    "Semaphore",
    "BoundedSemaphore",
    "Thread",
    "Barrier",
    "BrokenBarrierError",
    "Timer",
    "ThreadError",
    "setprofile",
    "settrace",
    "local",
    "stack_size",
    "excepthook",
    "ExceptHookArgs",
    "gettrace",
    "getprofile",
    "get_native_id",
]

if sys.version_info >= (3, 12):
    __all__ += ["setprofile_all_threads", "settrace_all_threads"]

_T = TypeVar("_T")

class _LockLike(Protocol):
    @property
    def acquire(self) -> Callable[..., Any]: ...
    @property
    def release(self) -> Callable[[], Any]: ...

@final
class Lock:
    def __new__(cls) -> Lock: ...
    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool: ...
    def release(self) -> None: ...
    def locked(self) -> bool: ...
    def acquire_lock(self, blocking: bool = True, timeout: float = -1) -> bool: ...
    def release_lock(self) -> None: ...
    def locked_lock(self) -> bool: ...
    def __enter__(self) -> bool: ...
    def __exit__(self, *exc_info: object) -> None: ...

@disjoint_base
class RLock:
    def __new__(cls) -> RLock: ...
    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool: ...
    def release(self) -> None: ...
    def locked(self) -> bool: ...
    def __enter__(self) -> bool: ...
    def __exit__(self, *exc_info: object) -> None: ...

class Condition:
    # Those of the lock.
    acquire: Callable[..., bool]
    release: Callable[[], None]
    def __init__(self, lock: _LockLike | None = None) -> None: ...
    def locked(self) -> bool: ...
    def wait(self, timeout: float | None = None) -> bool: ...
    def wait_for(self, predicate: Callable[[], _T], timeout: float | None = None) -> _T: ...
    def notify(self, n: int = 1) -> None: ...
    def notify_all(self) -> None: ...
    def notifyAll(self) -> None: ...
    def __enter__(self) -> bool: ...
    def __exit__(self, *exc_info: object) -> None: ...

class Semaphore:
    def __init__(self, value: int = 1) -> None: ...
    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool: ...
    def release(self, n: int = 1) -> None: ...
    def __enter__(self) -> bool: ...
    def __exit__(self, *exc_info: object) -> None: ...

class BoundedSemaphore(Semaphore): ...

class Event:
    def __init__(self) -> None: ...
    def is_set(self) -> bool: ...
    def isSet(self) -> bool: ...
    def set(self) -> None: ...
    def clear(self) -> None: ...
    def wait(self, timeout: float | None = None) -> bool: ...

class Barrier:
    def __init__(
        self, parties: int, action: Callable[[], object] | None = None, timeout: float | None = None
    ) -> None: ...
    @property
    def parties(self) -> int: ...
    @property
    def n_waiting(self) -> int: ...
    @property
    def broken(self) -> bool: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def reset(self) -> None: ...
    def abort(self) -> None: ...

class _Kind(ABCMeta): ...

class Thread(_stock.Thread, metaclass=_Kind):
    if sys.version_info >= (3, 14):
        def __init__(
            self,
            group: None = None,
            target: Callable[..., object] | None = None,
            name: str | None = None,
            args: Iterable[Any] = (),
            kwargs: Mapping[str, Any] | None = None,
            *,
            daemon: bool | None = None,
            context: Context | None = None,
        ) -> None: ...
    else:
        def __init__(
            self,
            group: None = None,
            target: Callable[..., object] | None = None,
            name: str | None = None,
            args: Iterable[Any] = (),
            kwargs: Mapping[str, Any] | None = None,
            *,
            daemon: bool | None = None,
        ) -> None: ...
    # Whatever a subclass's run() returns is the result.
    def run(self) -> Any: ...
    def result(self, timeout: float | None = None) -> Any: ...
    def exception(self, timeout: float | None = None) -> BaseException | None: ...

class Timer(Thread, _stock.Timer):  # type: ignore[misc, unused-ignore]
    def __init__(
        self,
        interval: float,
        function: Callable[..., object],
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
    ) -> None: ...
