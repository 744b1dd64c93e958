"""The interpreter's own `multiprocessing.process`: the very module, so that there is one state and not two."""

import sys

import multiprocessing.process

sys.modules[__name__] = multiprocessing.process
