class OwnerDiedError(RuntimeError):
    pid: int | None
    exitcode: int | None

class ItemsLostError(RuntimeError):
    count: int
