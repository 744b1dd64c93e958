"""CPython's tests of concurrent.futures: the interpreter's executors on our parts."""

import importlib
import pkgutil
import unittest

import test.test_concurrent_futures as package

MODULES = {package.__name__}
for found in pkgutil.iter_modules(getattr(package, "__path__", ()), package.__name__ + "."):
    if ".test_" in found.name.removeprefix(package.__name__):
        MODULES.add(found.name)
for name in MODULES:
    for key, value in list(vars(importlib.import_module(name)).items()):
        if isinstance(value, type) and issubclass(value, unittest.TestCase):
            # Each has the module in which it is to be found for pickle.
            globals()[key] = value
