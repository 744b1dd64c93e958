"""The interpreter's own `multiprocessing.heap`, for whoever asks for it: shared memory of this package is in `sharedctypes`."""

import sys

import multiprocessing.heap

sys.modules[__name__] = multiprocessing.heap
