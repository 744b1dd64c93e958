"""CPython's tests of multiprocessing under the start method spawn."""

import test._test_multiprocessing

test._test_multiprocessing.install_tests_in_module_dict(globals(), "spawn")
