from multiprocessing.process import BaseProcess
from typing import ClassVar

from allcores.multiprocessing import popen_fork

__all__ = ["Popen"]

class _DupFd:
    ind: int
    def __init__(self, ind: int) -> None: ...
    def detach(self) -> int: ...

class Popen(popen_fork.Popen):
    method: ClassVar[str]
    DupFd: ClassVar[type[_DupFd]]
    def __init__(self, process_obj: BaseProcess) -> None: ...
    def duplicate_for_child(self, fd: int) -> int: ...
    def poll(self, flag: int = 1) -> int | None: ...
