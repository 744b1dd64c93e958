"""Whatever a user can name of ours says what it is: `help()` has an answer."""

import importlib
import inspect
import pathlib
import pkgutil

import pytest

import allcores
from allcores import _allcores

MODULES = sorted(
    {"allcores", "allcores._allcores"}
    | {
        found.name
        for found in pkgutil.walk_packages([str(pathlib.Path(allcores.__file__).parent)], "allcores.")
        if not any(part.startswith("_") for part in found.name.split("."))
    }
)
EXTENSION = set(map(id, vars(_allcores).values()))


def is_ours(thing):
    return id(thing) in EXTENSION or getattr(thing, "__module__", "").partition(".")[0] == "allcores"


def public(names):
    return {name: thing for name, thing in names.items() if not name.startswith("_")}


def undocumented_in(owner, name):
    """The names of a class that have no docstring, neither of their own nor of what they override."""
    for attribute, thing in public(vars(owner)).items():
        if isinstance(thing, (staticmethod, classmethod)):
            thing = thing.__func__
        described = inspect.isroutine(thing) or inspect.isdatadescriptor(thing)
        if described and not inspect.getdoc(getattr(owner, attribute)):
            yield f"{name}.{attribute}"


@pytest.mark.parametrize("module_name", MODULES)
def test_everything_public_has_a_docstring(module_name):
    module = importlib.import_module(module_name)
    if module.__name__ != module_name:
        pytest.skip("the interpreter's own module")
    assert module.__doc__
    missing = []
    for name, thing in public(vars(module)).items():
        if inspect.ismodule(thing) or not callable(thing) or not is_ours(thing):
            continue
        if not (vars(thing).get("__doc__") if inspect.isclass(thing) else inspect.getdoc(thing)):
            missing.append(name)
        if inspect.isclass(thing):
            missing += undocumented_in(thing, name)
    assert not missing
