from _typeshed import WriteableBuffer
from collections.abc import Callable, Iterable
from multiprocessing import connection as _stock
from multiprocessing.context import AuthenticationError as AuthenticationError, BufferTooShort as BufferTooShort
from multiprocessing.connection import (
    _Address,
    answer_challenge as answer_challenge,
    deliver_challenge as deliver_challenge,
)
from typing import Any, Final, Protocol, SupportsIndex, TypeVar

from allcores import _allcores
from typing_extensions import TypeVar as _TypeVar

__all__ = ["Client", "Listener", "Pipe", "wait"]

BUFSIZE: Final[int]
CONNECTION_TIMEOUT: Final[float]
default_family: str
families: list[str]

# What is not said to be sent or received may be anything, as in the interpreter's stubs.
_SendT_contra = _TypeVar("_SendT_contra", contravariant=True, default=Any)
_RecvT_co = _TypeVar("_RecvT_co", covariant=True, default=Any)

class _HasFileno(Protocol):
    def fileno(self) -> int: ...

_Waitable = TypeVar("_Waitable", bound=_HasFileno | int)

class Connection(_allcores.Wire, _stock.Connection[_SendT_contra, _RecvT_co]):
    def __init__(self, handle: SupportsIndex, readable: bool = True, writable: bool = True) -> None: ...
    def __del__(self) -> None: ...
    def send(self, obj: _SendT_contra) -> None: ...
    def recv(self) -> _RecvT_co: ...
    def recv_bytes_into(self, buf: WriteableBuffer, offset: int = 0) -> int: ...

def Pipe(duplex: bool = True) -> tuple[Connection[Any, Any], Connection[Any, Any]]: ...

class Listener(_stock.Listener):
    def __init__(
        self, address: _Address | None = None, family: str | None = None, backlog: int = 1, authkey: bytes | None = None
    ) -> None: ...
    def accept(self) -> Connection[Any, Any]: ...

def Client(address: _Address, family: str | None = None, authkey: bytes | None = None) -> Connection[Any, Any]: ...
def SocketClient(address: _Address) -> Connection[Any, Any]: ...
def wait(object_list: Iterable[_Waitable], timeout: float | None = None) -> list[_Waitable]: ...
def reduce_connection(
    conn: Connection[Any, Any],
) -> tuple[Callable[[Any, bool, bool], Connection[Any, Any]], tuple[Any, bool, bool]]: ...
def rebuild_connection(df: Any, readable: bool, writable: bool) -> Connection[Any, Any]: ...
