from allcores import multiprocessing, queue, threading
from allcores._errors import ItemsLostError, OwnerDiedError

__version__: str
__all__ = ["ItemsLostError", "OwnerDiedError", "__version__", "install", "multiprocessing", "queue", "threading", "uninstall"]

def install() -> None: ...
def uninstall() -> None: ...
