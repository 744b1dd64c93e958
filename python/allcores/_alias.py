"""An import that gives a module which is there already: under a second name, or because finding it has imported it."""

from importlib.machinery import ModuleSpec


def alias(name, module):
    """A spec whose import gives `module` as it is."""
    loader = _Alias(module)
    spec = ModuleSpec(name, loader, is_package=hasattr(module, "__path__"))
    # If finding a module has imported it, the import system takes the spec that the module has, and would run it again.
    module.__spec__ = spec
    return spec


class _Alias:
    """A loader that has nothing to load, and puts back the module's own spec."""

    def __init__(self, module):
        self._module = module
        self._spec = module.__spec__

    def create_module(self, spec):
        return self._module

    def exec_module(self, module):
        module.__spec__ = self._spec
