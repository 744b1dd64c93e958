from multiprocessing import popen_fork as _stock

__all__ = ["Popen"]

class Popen(_stock.Popen):
    def poll(self, flag: int = 1) -> int | None: ...

def sentinel_of(pid: int) -> int: ...
