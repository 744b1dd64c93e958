"""The interpreter's own `multiprocessing.dummy.connection`: the very module."""

import sys

import multiprocessing.dummy.connection

sys.modules[__name__] = multiprocessing.dummy.connection
