"""The interpreter's pools, whose processes are of this package."""

from multiprocessing import pool as _stock
from multiprocessing.pool import *  # noqa: F403
from multiprocessing.pool import (
    CLOSE as CLOSE,
    INIT as INIT,
    RUN as RUN,
    TERMINATE as TERMINATE,
    ApplyResult as ApplyResult,
    AsyncResult as AsyncResult,
    ExceptionWithTraceback as ExceptionWithTraceback,
    IMapIterator as IMapIterator,
    IMapUnorderedIterator as IMapUnorderedIterator,
    MapResult as MapResult,
    MaybeEncodingError as MaybeEncodingError,
    RemoteTraceback as RemoteTraceback,
    ThreadPool as ThreadPool,
    mapstar as mapstar,
    rebuild_exc as rebuild_exc,
    starmapstar as starmapstar,
    worker as worker,
)

from allcores.multiprocessing.context import _default_context

__all__ = ["Pool", "ThreadPool"]

_make = _stock.Pool.__init__


class Pool(_stock.Pool):
    """A pool of processes, as the interpreter's: without a context its processes are those of this package's default."""

    def __init__(self, processes=None, initializer=None, initargs=(), maxtasksperchild=None, context=None):
        """As `multiprocessing.pool.Pool`."""
        # Not by super(): installed, this is what the interpreter's ThreadPool calls by the name of its base.
        _make(self, processes, initializer, initargs, maxtasksperchild, context or _default_context.get_context())


def __getattr__(name):
    return getattr(_stock, name)
