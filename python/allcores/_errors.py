"""What can go wrong here and nowhere else. Everything else is raised as the standard library's own exceptions."""


class OwnerDiedError(RuntimeError):
    """Who held this died while holding it. It is usable again, and what it protects may be half-changed.

    Raised once, by whoever wants it next, and *without* holding it: it can be acquired as ever. Where a lock must be held
    on return (`Condition.wait`), it is held.
    """

    # Attributes of the class, and no `__init__`: a dead owner is found in Rust, where no Python code may run.
    #: The process that died, if that is known. For messages to people: the number may be another process's by now.
    pid: int | None = None
    __module__ = "allcores"


class ItemsLostError(RuntimeError):
    """Items of a JoinableQueue will never be done, because the processes that got them are gone: `count` of them."""

    count: int = 0
    __module__ = "allcores"
