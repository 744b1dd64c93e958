"""The interpreter's own `multiprocessing.util`: the very module, so that there is one state and not two."""

import sys

import multiprocessing.util

sys.modules[__name__] = multiprocessing.util
