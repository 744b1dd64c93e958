"""How objects become messages: as by `ForkingPickler.dumps` and `loads`, without a new pickler for each message.

What programs and libraries register with `ForkingPickler` or `copyreg` counts, also if they do so later.
"""

import copyreg
import pickle
from multiprocessing.reduction import ForkingPickler

from allcores import _allcores

#: Lives as long as both tables, which the stdlib changes in place.
_reducers = _allcores.Reducers(ForkingPickler._extra_reducers, copyreg.dispatch_table)
#: Picklers that are at rest, with the sinks that they write to.
_idle = []
#: A pickler that has written more is not kept: what it remembers with would stay as large.
_KEEP = 1 << 16
#: From this size on, a message is taken apart by a reader that fills large objects in huge pages.
_LARGE = 1 << 20


def _new_pickler():
    sink = _allcores.Sink()
    # Protocol 5 can write buffers from where they lie; every Python that we meet on a wire reads it.
    pickler = pickle.Pickler(sink, 5, buffer_callback=sink.keep)
    pickler.dispatch_table = _reducers
    return pickler, sink


def dump(obj, send):
    """Pickles the object as `ForkingPickler` does, and calls `send` with the sink that holds the pickle."""
    try:
        pair = _idle.pop()
    except IndexError:
        pair = _new_pickler()
    pickler, sink = pair
    pickler.dump(obj)
    small = sink.total <= _KEEP
    send(sink)
    if small:
        pickler.clear_memo()
        _idle.append(pair)


def load(message):
    """The object whose pickle the message is."""
    if len(message) < _LARGE:
        return pickle.loads(message)
    return pickle.Unpickler(_allcores.Feed(message)).load()
