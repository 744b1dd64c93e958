"""Objects as the parts of a message, and back.

What `ForkingPickler` makes, in protocol 5 and without its costs for each message: it copies two tables of reducers. Large
buffers (of numpy arrays, of bytes) are parts of their own and not copied here; one after another the parts are an ordinary
pickle, which any Python can load.
"""

import _pickle
from _pickle import dumps as _dumps
from _pickle import loads
from multiprocessing.reduction import ForkingPickler

from allcores._allcores import Reducers

__all__ = ["ATOMS", "Kit", "atom", "idle", "loads"]

PROTOCOL = 5

#: What pickles without any reducer. Exactly these types.
ATOMS = frozenset({int, float, str, bytes, bool, type(None)})

#: Live: what `ForkingPickler.register` and `copyreg.pickle` add later is found.
_reducers = Reducers(ForkingPickler._extra_reducers, ForkingPickler._copyreg_dispatch_table)

#: Picklers that nobody uses now. A pickler may be wanted while another one runs: by another thread, or by the `__reduce__`
#: of what is pickled.
idle = []


def atom(obj):
    """One of ATOMS, as bytes."""
    return _dumps(obj, PROTOCOL)


class _Sink:
    __slots__ = ("write",)

    def __init__(self, write):
        self.write = write


class Kit:
    """A pickler that can be used again: `dump(obj)`, then `parts`, and when they are not needed any more `clear()`.

    Until then it keeps the objects alive whose memory the parts are.
    """

    __slots__ = ("_forget", "dump", "parts")

    def __init__(self):
        self.parts = []
        pickler = _pickle.Pickler(_Sink(self.parts.append), PROTOCOL)
        pickler.dispatch_table = _reducers
        self.dump = pickler.dump
        self._forget = pickler.clear_memo

    def clear(self):
        """Forget what was dumped, and wait for the next use."""
        self._forget()
        self.parts.clear()
        idle.append(self)
