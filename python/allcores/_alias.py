"""An import that gives a module which is there already, under a second name or at a second moment."""

from importlib.machinery import ModuleSpec


def alias(name, module):
    """A spec whose import gives `module` as it is."""
    return ModuleSpec(name, _Alias(module), is_package=hasattr(module, "__path__"))


class _Alias:
    """A loader that has nothing to load. The import system writes its own spec onto the module: it is put back."""

    def __init__(self, module):
        self._module = module
        self._spec = module.__spec__

    def create_module(self, spec):
        return self._module

    def exec_module(self, module):
        module.__spec__ = self._spec
