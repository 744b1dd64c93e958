import ctypes
from collections.abc import Callable, Iterable, Sequence
from ctypes import _CData, _SimpleCData, c_char
from multiprocessing import sharedctypes as _stock
from multiprocessing.context import BaseContext, assert_spawning as assert_spawning
from typing import Any, Generic, Literal, SupportsIndex, TypeVar, overload

from allcores import _allcores
from allcores.multiprocessing.synchronize import RLock as RLock, _LockLike, _ScopedLock

__all__ = ["RawValue", "RawArray", "Value", "Array", "copy", "synchronized"]

_T = TypeVar("_T")
_CT = TypeVar("_CT", bound=_CData)

class Memory:
    def __init__(self, size: int) -> None: ...
    def create_memoryview(self) -> memoryview: ...
    def __getstate__(self) -> Any: ...
    def __setstate__(self, state: Any) -> None: ...

@overload
def RawValue(typecode_or_type: type[_CT], *args: Any) -> _CT: ...
@overload
def RawValue(typecode_or_type: str, *args: Any) -> Any: ...
@overload
def RawArray(typecode_or_type: type[_CT], size_or_initializer: int | Sequence[Any]) -> ctypes.Array[_CT]: ...
@overload
def RawArray(typecode_or_type: str, size_or_initializer: int | Sequence[Any]) -> Any: ...
@overload
def Value(
    typecode_or_type: type[_SimpleCData[_T]],
    *args: Any,
    lock: Literal[True] | _LockLike = True,
    ctx: BaseContext | None = None,
) -> Synchronized[_T]: ...
@overload
def Value(
    typecode_or_type: type[_CT], *args: Any, lock: Literal[False], ctx: BaseContext | None = None
) -> _CT: ...
@overload
def Value(
    typecode_or_type: type[_CT],
    *args: Any,
    lock: Literal[True] | _LockLike = True,
    ctx: BaseContext | None = None,
) -> SynchronizedBase[_CT]: ...
@overload
def Value(
    typecode_or_type: str, *args: Any, lock: Literal[True] | _LockLike = True, ctx: BaseContext | None = None
) -> Synchronized[Any]: ...
@overload
def Value(
    typecode_or_type: str | type[_CData],
    *args: Any,
    lock: bool | _LockLike = True,
    ctx: BaseContext | None = None,
) -> Any: ...
@overload
def Array(
    typecode_or_type: type[_CT],
    size_or_initializer: int | Sequence[Any],
    *,
    lock: Literal[False],
    ctx: BaseContext | None = None,
) -> ctypes.Array[_CT]: ...
@overload
def Array(
    typecode_or_type: type[c_char],
    size_or_initializer: int | Sequence[Any],
    *,
    lock: Literal[True] | _LockLike = True,
    ctx: BaseContext | None = None,
) -> SynchronizedString: ...
@overload
def Array(
    typecode_or_type: type[_SimpleCData[_T]],
    size_or_initializer: int | Sequence[Any],
    *,
    lock: Literal[True] | _LockLike = True,
    ctx: BaseContext | None = None,
) -> SynchronizedArray[_T]: ...
@overload
def Array(
    typecode_or_type: str,
    size_or_initializer: int | Sequence[Any],
    *,
    lock: Literal[True] | _LockLike = True,
    ctx: BaseContext | None = None,
) -> SynchronizedArray[Any]: ...
@overload
def Array(
    typecode_or_type: str | type[_CData],
    size_or_initializer: int | Sequence[Any],
    *,
    lock: bool | _LockLike = True,
    ctx: BaseContext | None = None,
) -> Any: ...
def copy(obj: _CT) -> _CT: ...
@overload
def synchronized(
    obj: ctypes.Array[c_char], lock: _LockLike | None = None, ctx: BaseContext | None = None
) -> SynchronizedString: ...
@overload
def synchronized(
    obj: _SimpleCData[_T], lock: _LockLike | None = None, ctx: BaseContext | None = None
) -> Synchronized[_T]: ...
@overload
def synchronized(
    obj: ctypes.Array[_SimpleCData[_T]], lock: _LockLike | None = None, ctx: BaseContext | None = None
) -> SynchronizedArray[_T]: ...
@overload
def synchronized(
    obj: _CT, lock: _LockLike | None = None, ctx: BaseContext | None = None
) -> SynchronizedBase[_CT]: ...

class SynchronizedBase(_stock.SynchronizedBase[_CT]):
    def __init__(self, obj: Any, lock: _LockLike | None = None, ctx: BaseContext | None = None) -> None: ...
    def __enter__(self) -> bool: ...
    def __exit__(self, *args: object) -> None: ...
    def __reduce__(self) -> tuple[Callable[..., SynchronizedBase[Any]], tuple[Any, Any]]: ...
    # What it was made with; an RLock of this package, if with none.
    def get_lock(self) -> _ScopedLock: ...  # type: ignore[override]

class Synchronized(
    _allcores.GuardedValue, SynchronizedBase[_SimpleCData[_T]], _stock.Synchronized[_T], Generic[_T]
):
    value: _T

class SynchronizedArray(
    _allcores.GuardedArray,
    SynchronizedBase[ctypes.Array[_SimpleCData[_T]]],
    _stock.SynchronizedArray[_T],
    Generic[_T],
):
    @overload
    def __getitem__(self, i: slice, /) -> list[_T]: ...
    @overload
    def __getitem__(self, i: SupportsIndex, /) -> _T: ...
    @overload
    def __setitem__(self, i: slice, value: Iterable[_T], /) -> None: ...
    @overload
    def __setitem__(self, i: SupportsIndex, value: _T, /) -> None: ...

class SynchronizedString(SynchronizedArray[bytes], _stock.SynchronizedString):
    @overload  # type: ignore[override]
    def __getitem__(self, i: slice, /) -> bytes: ...
    @overload
    def __getitem__(self, i: SupportsIndex, /) -> bytes: ...
    @overload  # type: ignore[override]
    def __setitem__(self, i: slice, value: bytes, /) -> None: ...
    @overload
    def __setitem__(self, i: SupportsIndex, value: bytes, /) -> None: ...
