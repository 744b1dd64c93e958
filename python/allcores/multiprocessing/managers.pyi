from multiprocessing import managers as _stock
from multiprocessing.context import BaseContext
from multiprocessing.connection import _Address
from multiprocessing.managers import (
    BaseListProxy as BaseListProxy,
    BaseProxy as BaseProxy,
    ListProxy as ListProxy,
    Namespace as Namespace,
    RemoteError as RemoteError,
    Server as Server,
    Token as Token,
    ValueProxy as ValueProxy,
)
from typing import Any

__all__ = ["BaseManager", "SyncManager", "BaseProxy", "Token", "SharedMemoryManager"]

class BaseManager(_stock.BaseManager):
    def __init__(
        self,
        address: _Address | None = None,
        authkey: bytes | None = None,
        serializer: str = "pickle",
        ctx: BaseContext | None = None,
        **options: float,
    ) -> None: ...

class SyncManager(BaseManager, _stock.SyncManager): ...

class SharedMemoryManager(BaseManager, _stock.SharedMemoryManager):
    def __init__(self, *args: Any, **kwargs: Any) -> None: ...
