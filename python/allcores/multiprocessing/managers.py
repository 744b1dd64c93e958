"""The interpreter's managers, whose server process is one of this package."""

from multiprocessing import managers as _stock
from multiprocessing.managers import *  # noqa: F403

from allcores.multiprocessing import pool
from allcores.multiprocessing.context import _default_context

__all__ = list(_stock.__all__)


class BaseManager(_stock.BaseManager):
    """As the interpreter's: without a context its server is a process of this package's default."""

    def __init__(self, address=None, authkey=None, serializer="pickle", ctx=None, **options):
        """As `multiprocessing.managers.BaseManager`."""
        super().__init__(address, authkey, serializer, ctx or _default_context.get_context(), **options)


class SyncManager(BaseManager, _stock.SyncManager):
    """As the interpreter's: without a context its server is a process of this package's default."""


SyncManager.register("Pool", pool.Pool, _stock.PoolProxy)
SyncManager.Pool.__doc__ = "A pool of processes, which are children of the manager's."

if "SharedMemoryManager" in __all__:

    class SharedMemoryManager(BaseManager, _stock.SharedMemoryManager):
        """As the interpreter's: without a context its server is a process of this package's default."""

        def __init__(self, *args, **kwargs):
            """As `multiprocessing.managers.SharedMemoryManager`."""
            if len(args) < 4 and kwargs.get("ctx") is None:
                kwargs["ctx"] = _default_context.get_context()
            _stock.SharedMemoryManager.__init__(self, *args, **kwargs)


def __getattr__(name):
    return getattr(_stock, name)
