"""Processes, and the primitives that they share."""

from multiprocessing import *  # noqa: F403
from multiprocessing import __all__ as __all__
