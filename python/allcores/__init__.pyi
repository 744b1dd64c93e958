from allcores import multiprocessing, queue, threading
from allcores._errors import OwnerDiedError
from allcores._install import install, uninstall

__version__: str
__all__ = ["OwnerDiedError", "__version__", "install", "multiprocessing", "queue", "threading", "uninstall"]
