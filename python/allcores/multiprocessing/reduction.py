"""The interpreter's own `multiprocessing.reduction`: the very module, so that there is one state and not two."""

import sys

import multiprocessing.reduction  # noqa: F401

# A spawned child may have it stand ready without its package knowing yet.
sys.modules[__name__] = sys.modules["multiprocessing.reduction"]
