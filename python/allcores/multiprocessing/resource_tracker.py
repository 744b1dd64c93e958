"""The interpreter's own `multiprocessing.resource_tracker`: the very module, so that there is one state and not two."""

import sys

import multiprocessing.resource_tracker

sys.modules[__name__] = multiprocessing.resource_tracker
