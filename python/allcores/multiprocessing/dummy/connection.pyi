"""The interpreter's own module."""

from multiprocessing.dummy.connection import *
from multiprocessing.dummy.connection import __all__ as __all__
