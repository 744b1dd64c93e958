class OwnerDiedError(RuntimeError):
    pid: int | None

class ItemsLostError(RuntimeError):
    count: int
