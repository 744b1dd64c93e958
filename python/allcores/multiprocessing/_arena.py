"""How shared objects reach the children of this process.

Everything shared lies in one arena, a memfd that a whole family of processes maps. A forked child has it by itself. For
spawn and forkserver two things must travel: the arena's descriptor, once for each child, and for each object the name of
its place in the arena.

An object whose Rust part has `_pack()` pickles itself by

    def __getstate__(self):
        return _arena.pack(self._core)          # raises, as the stdlib does, unless a child is being started

    def __setstate__(self, state):
        self._core = _arena.rebuild(Core._unpack, state)

What it names is kept alive from `pack` until a child has rebuilt it. This works in children that the stdlib's own contexts
start as well: the first object then brings the arena along. A context of ours hands the arena over before the child imports
anything (`preparation` in the parent, `adopt` in the child), so that what the main module makes lies in the same arena.
"""

import os as _os
from multiprocessing import context as _context
from multiprocessing import util as _util

from allcores import _allcores

__all__ = ["adopt", "pack", "preparation", "rebuild"]

#: Descriptors that came with this process's start, and whose arenas are known.
_met = set()


def pack(core):
    """The state of a shared object for a child that is being started: `(bytes, arenas)`.

    RuntimeError if none is: as with the stdlib's objects, a child must inherit them, or get them in its arguments.
    """
    _context.assert_spawning(core)
    popen = _context.get_spawning_popen()
    packed, descriptors = core._pack()
    return packed, tuple(_hand_over(popen, descriptor) for descriptor in descriptors)


def rebuild(unpack, state):
    """`unpack(bytes)`, once the arenas are known, for what `pack` returned."""
    packed, arenas = state
    for arena in arenas:
        adopt(arena)
    return unpack(packed)


def preparation(popen):
    """The common arena of this process and its children, for the child that `popen` starts: goes into its preparation
    data, and is given to `adopt` before anything else of ours is used there."""
    return _hand_over(popen, _allcores.arena_descriptor())


def adopt(arena):
    """Makes an arena known in the child that got it: its common one if it has none yet."""
    descriptor = arena.detach()
    if descriptor not in _met:
        _met.add(descriptor)
        _allcores.meet_arena(descriptor)


def _hand_over(popen, descriptor):
    """The descriptor, on its way with the child that is being started: once, however many objects need it."""
    known = popen.__dict__.setdefault("_allcores_arenas", {})
    if descriptor not in known:
        known[descriptor] = popen.DupFd(popen.duplicate_for_child(descriptor))
    return known[descriptor]


def _leave_locks_at_exit(_=None):
    """A normal end is no death for a Lock. Also in the children that multiprocessing ends by `os._exit`."""
    _util.Finalize(None, _allcores.leave_locks, exitpriority=-1000)


# multiprocessing clears the finalizers of its children, and then runs this.
_util.register_after_fork(_leave_locks_at_exit, _leave_locks_at_exit)
_leave_locks_at_exit()

# What a forked child has copied handles of is kept by its parent until the child holds it itself.
_os.register_at_fork(
    before=_allcores.before_fork,
    after_in_parent=_allcores.after_fork_in_parent,
    after_in_child=_allcores.after_fork_in_child,
)
