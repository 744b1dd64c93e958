"""Puts our modules in the place of `threading`, `queue` and `multiprocessing`, as CPython's tests import them.

`import threading` then gives `allcores.threading`, and so on for each submodule that we have. Private names that ours lacks are
looked up in the interpreter's module (the tests need some to be imported at all) and counted; a public name that is missing
stays missing, and costs the tests that want it.

A `.pth` file of the environment imports this module at the start of every interpreter in which `ALLCORES_CONFORMANCE` is
set, so that children are treated alike, also those of `python -I`. Nothing happens there before the first import of one of the
three. Only `python -S` gets past it.
"""

import importlib
import importlib.abc
import importlib.machinery
import os
import pkgutil
import sys

FAMILIES = ("threading", "queue", "multiprocessing")
#: Names of the interpreter's modules, filled by `apply`.
STOCK = {}
#: The same names with what is ours, for those that we have.
OURS = {}
#: Private names that were looked up in the interpreter's module for want of our own: {"threading._active"}.
BORROWED = set()

_state = "not begun"
_ALIAS = "stock_"


def _stock_names():
    import multiprocessing

    yield from FAMILIES
    for found in pkgutil.walk_packages(multiprocessing.__path__, "multiprocessing."):
        if not found.name.endswith("win32"):
            yield found.name


def _borrowing(module, stock):
    """Lets `module` look up private names in `stock`."""
    base = type(module)
    name = stock.__name__

    class Borrowing(base):
        def __getattr__(self, attribute):
            # Comes after the module's own attributes and its own `__getattr__`, if it has one.
            own = vars(self).get("__getattr__") or getattr(base, "__getattr__", None)
            if own is not None:
                try:
                    return own(attribute) if own is vars(self).get("__getattr__") else own(self, attribute)
                except AttributeError:
                    pass
            if not attribute.startswith("_") or attribute.startswith("__"):
                raise AttributeError(f"module {self.__name__!r} has no attribute {attribute!r}")
            value = getattr(stock, attribute)
            BORROWED.add(f"{name}.{attribute}")
            return value

    Borrowing.__name__ = Borrowing.__qualname__ = base.__name__
    # Past whatever the module's own class makes of setting something.
    object.__setattr__(module, "__class__", Borrowing)


def _rename(stock, ours):
    """Lets what is pickled by name find itself: the interpreter's own code still sends its own objects.

    Its functions and classes that ours displace under their names say from now on that they are in `stock_MODULE`.
    """
    alias = _ALIAS + stock.__name__.replace(".", "_")
    sys.modules[alias] = stock
    for name, value in vars(stock).items():
        if getattr(value, "__module__", None) == stock.__name__ and vars(ours).get(name) is not value:
            try:
                value.__module__ = alias
            except (AttributeError, TypeError):
                pass


def apply():
    """Makes the exchange, once."""
    global _state
    if _state != "not begun":
        return
    _state = "applying"
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
    for name in list(_stock_names()):
        try:
            STOCK[name] = importlib.import_module(name)
        except ImportError as error:
            # Up to 3.12 ctypes, which sharedctypes needs, is not for isolated subinterpreters. Whoever wants it there is told so.
            if "does not support loading in subinterpreters" not in str(error):
                raise
    for name in STOCK:
        try:
            OURS[name] = importlib.import_module("allcores." + name)
        except ModuleNotFoundError as error:
            if not ("allcores." + name + ".").startswith(f"{error.name}."):
                raise
    for name, module in OURS.items():
        if module is STOCK[name]:
            continue
        _borrowing(module, STOCK[name])
        _rename(STOCK[name], module)
        sys.modules[name] = module
    for name, stock in STOCK.items():
        package, _, last = name.rpartition(".")
        if name not in OURS and package in OURS:
            setattr(OURS[package], last, stock)
    _state = "applied"


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Makes the exchange at the first import, and finds ours again for tests that import a module afresh."""

    found = {}

    def find_spec(self, fullname, path=None, target=None):
        ours = fullname.startswith("allcores.") and _state == "not begun"
        family = fullname.removeprefix("allcores.") if ours else fullname
        alias = fullname.startswith(_ALIAS) and _state == "not begun"
        if _state == "applying" or not (alias or family.partition(".")[0] in FAMILIES):
            return None
        # A child may begin with ours: that is imported whole before it meets what was exchanged.
        apply()
        if not alias and family not in STOCK:
            return None
        # The import system would run a module again that has come to be there while it was looked for.
        self.found[fullname] = sys.modules.pop(fullname, None) or OURS.get(family) or STOCK.get(family)
        return importlib.machinery.ModuleSpec(fullname, self) if self.found[fullname] else None

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        # The import system has put an empty module there; it takes what it finds afterwards.
        sys.modules[module.__name__] = self.found[module.__name__]


if os.environ.get("ALLCORES_CONFORMANCE") and "threading" not in sys.modules:
    sys.meta_path.insert(0, _Finder())
