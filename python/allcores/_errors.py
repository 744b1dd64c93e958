"""Errors that the standard library has no class for."""


class OwnerDiedError(RuntimeError):
    """Who held this died while holding it. It is usable again, and what it protects may be half-changed.

    `pid` is the process that died and `exitcode` how, as `Process.exitcode` says it; each is None if it is not known.
    """

    def __init__(self, *args, pid=None, exitcode=None):
        super().__init__(*args)
        self.pid = pid
        self.exitcode = exitcode
