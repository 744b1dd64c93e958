"""The interpreter's own `multiprocessing.resource_sharer`: the very module, so that there is one state and not two."""

import sys

import multiprocessing.resource_sharer

sys.modules[__name__] = multiprocessing.resource_sharer
