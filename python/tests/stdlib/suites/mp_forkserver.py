"""CPython's tests of multiprocessing under the start method forkserver."""

import test._test_multiprocessing

test._test_multiprocessing.install_tests_in_module_dict(globals(), "forkserver")
