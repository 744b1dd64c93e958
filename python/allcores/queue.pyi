import queue as _stock
import sys
from queue import Empty as Empty
from queue import Full as Full
from types import GenericAlias
from typing import Any, Generic, TypeVar, final

from allcores.threading import Condition, Lock
from typing_extensions import disjoint_base

__all__ = ["Empty", "Full", "LifoQueue", "PriorityQueue", "Queue", "ShutDown", "SimpleQueue"]

_T = TypeVar("_T")

if sys.version_info >= (3, 13):
    from queue import ShutDown as ShutDown
else:
    class ShutDown(Exception): ...

class Queue(_stock.Queue[_T]):
    is_shutdown: bool
    def shutdown(self, immediate: bool = False) -> None: ...

class PriorityQueue(Queue[_T], _stock.PriorityQueue[_T]):  # type: ignore[type-var, unused-ignore]
    queue: list[_T]

class LifoQueue(Queue[_T], _stock.LifoQueue[_T]):
    queue: list[_T]

@disjoint_base
class SimpleQueue(Generic[_T]):
    def __new__(cls) -> SimpleQueue[_T]: ...
    def empty(self) -> bool: ...
    def get(self, block: bool = True, timeout: float | None = None) -> _T: ...
    def get_nowait(self) -> _T: ...
    def put(self, item: _T, block: bool = True, timeout: float | None = None) -> None: ...
    def put_nowait(self, item: _T) -> None: ...
    def qsize(self) -> int: ...
    def __class_getitem__(cls, item: Any, /) -> GenericAlias: ...
