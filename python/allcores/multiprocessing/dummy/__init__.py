"""The interpreter's own `multiprocessing.dummy`: the very module, so that there is one state and not two."""

import sys

import multiprocessing.dummy.connection

# The submodule as well: looked for as a file, it would be loaded a second time.
sys.modules[__name__ + ".connection"] = multiprocessing.dummy.connection
sys.modules[__name__] = multiprocessing.dummy
