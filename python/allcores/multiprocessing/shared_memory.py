"""The interpreter's own `multiprocessing.shared_memory`: the very module, so that there is one state and not two."""

import sys

import multiprocessing.shared_memory

sys.modules[__name__] = multiprocessing.shared_memory
