"""Connections between processes and programs: `multiprocessing.connection` on our Connection.

The bytes on the wire are the stdlib's, so either end may be a stock one. `wait` takes our Connections, the stdlib's, sockets,
sentinels and plain descriptors alike; and since our classes extend the stdlib's, its functions take ours.
"""

import os
import socket
import sys
from multiprocessing import BufferTooShort, reduction
from multiprocessing import connection as _stock
from multiprocessing.connection import (
    AuthenticationError,
    ConnectionWrapper,
    address_type,
    answer_challenge,
    arbitrary_address,
    deliver_challenge,
)

from allcores import _allcores
from allcores.multiprocessing import _messages

__all__ = ["Client", "Listener", "Pipe", "wait"]

BUFSIZE = _stock.BUFSIZE
CONNECTION_TIMEOUT = _stock.CONNECTION_TIMEOUT
default_family = _stock.default_family
families = _stock.families


def __getattr__(name):
    # What the stdlib has beside its public names, as it is in the running interpreter.
    if name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(_stock, name)


#
# The connection
#


class Connection(_allcores.Wire, _stock.Connection):
    """Connection class based on an arbitrary file descriptor."""

    def __init__(self, handle, readable=True, writable=True):
        handle = handle.__index__()
        if handle < 0:
            raise ValueError("invalid handle")
        if not readable and not writable:
            raise ValueError("at least one of `readable` and `writable` must be True")
        self._open(handle, bool(readable), bool(writable))

    __del__ = _allcores.Wire._drop

    # `send` and `recv` are put here by `quicken_connection`, and call these.
    def _send_object(self, obj, _dump=_messages.dump):
        _dump(obj, self._send_sink)

    _loads = staticmethod(_messages.load)

    def recv_bytes_into(self, buf, offset=0):
        """
        Receive bytes data into a writeable bytes-like object.
        Return the number of bytes read.
        """
        result = self._recv_into(buf, offset)
        if type(result) is bytes:
            raise BufferTooShort(result)
        return result


_allcores.quicken_connection(Connection)


def Pipe(duplex=True):
    """
    Returns pair of connection objects at either end of a pipe
    """
    if duplex:
        one, other = socket.socketpair()
        one.setblocking(True)
        other.setblocking(True)
        ends = one.detach(), other.detach()
        for end in ends:
            _allcores.widen(end)
        return Connection(ends[0]), Connection(ends[1])
    reader, writer = os.pipe()
    return Connection(reader, writable=False), Connection(writer, readable=False)


#
# Listeners and clients
#


def _validate_family(family):
    if family == "AF_PIPE":
        raise ValueError("Family %s is not recognized." % family)


class SocketListener(_stock.SocketListener):
    """
    Representation of a socket which is bound to an address and listening
    """

    def accept(self):
        """The Connection to the next one who connects."""
        s, self._last_accepted = self._socket.accept()
        s.setblocking(True)
        return Connection(s.detach())


def SocketClient(address):
    """
    Return a connection object connected to the socket given by `address`
    """
    family = address_type(address)
    with socket.socket(getattr(socket, family)) as s:
        s.setblocking(True)
        s.connect(address)
        return Connection(s.detach())


class Listener(_stock.Listener):
    """
    Returns a listener object.

    This is a wrapper for a bound socket which is 'listening' for
    connections.
    """

    def __init__(self, address=None, family=None, backlog=1, authkey=None):
        family = family or (address and address_type(address)) or default_family
        address = address or arbitrary_address(family)
        _validate_family(family)
        if authkey is not None and not isinstance(authkey, bytes):
            raise TypeError("authkey should be a byte string")
        self._listener = SocketListener(address, family, backlog)
        self._authkey = authkey

    def accept(self):
        """
        Accept a connection on the bound socket of `self`.

        Returns a `Connection` object.
        """
        if self._listener is None:
            raise OSError("listener is closed")
        c = self._listener.accept()
        if self._authkey is not None:
            try:
                deliver_challenge(c, self._authkey)
                answer_challenge(c, self._authkey)
            except BaseException:
                c.close()
                raise
        return c


def Client(address, family=None, authkey=None):
    """
    Returns a connection to the address of a `Listener`
    """
    family = family or address_type(address)
    _validate_family(family)
    if authkey is not None and not isinstance(authkey, bytes):
        raise TypeError("authkey should be a byte string")
    c = SocketClient(address)
    if authkey is not None:
        try:
            answer_challenge(c, authkey)
            deliver_challenge(c, authkey)
        except BaseException:
            c.close()
            raise
    return c


#
# Serialization by xmlrpc
#


class XmlListener(Listener):
    """A Listener whose connections send and receive what `xmlrpc.client` can express."""

    def accept(self):
        import xmlrpc.client

        _stock.xmlrpclib = xmlrpc.client
        return ConnectionWrapper(super().accept(), _stock._xml_dumps, _stock._xml_loads)


def XmlClient(*args, **kwds):
    """A connection to an `XmlListener`."""
    import xmlrpc.client

    _stock.xmlrpclib = xmlrpc.client
    return ConnectionWrapper(Client(*args, **kwds), _stock._xml_dumps, _stock._xml_loads)


#
# Wait
#


def _descriptor(obj):
    """The descriptor of an object with `fileno()`; the errors are those of `selectors`."""
    if isinstance(obj, int):
        descriptor = obj
    else:
        try:
            descriptor = int(obj.fileno())
        except (AttributeError, TypeError, ValueError):
            raise ValueError("Invalid file object: {!r}".format(obj)) from None
    if descriptor < 0:
        raise ValueError("Invalid file descriptor: {}".format(descriptor))
    return descriptor


def wait(object_list, timeout=None):
    """
    Wait till an object in object_list is ready/readable.

    Returns list of those objects in object_list which are ready/readable.
    """
    objects = list(object_list)
    descriptors = [_descriptor(obj) for obj in objects]
    if len(set(descriptors)) < len(descriptors):
        seen = set()
        for obj, descriptor in zip(objects, descriptors):
            if descriptor in seen:
                raise KeyError("{!r} (FD {}) is already registered".format(obj, descriptor))
            seen.add(descriptor)
    ready = _allcores.wait_readable(descriptors, timeout)
    ends = sys.modules.get("allcores.multiprocessing._queue_ends")
    if ready and ends is not None and len(ready) < len(objects):
        # A queue's descriptor is raised by a thread, which may be late: the end of a process must not be seen before what
        # it has put.
        late = [place for place, obj in enumerate(objects) if isinstance(obj, ends.Reader) and obj.poll(0)]
        ready = sorted({*ready, *late})
    return [objects[place] for place in ready]


#
# Connections inside messages
#


def reduce_connection(conn):
    """What a Connection is pickled as, for a process that is being started or one that asks for the descriptor."""
    df = reduction.DupFd(conn.fileno())
    return rebuild_connection, (df, conn.readable, conn.writable)


def rebuild_connection(df, readable, writable):
    """The Connection that `reduce_connection` took apart."""
    fd = df.detach()
    return Connection(fd, readable, writable)


reduction.register(Connection, reduce_connection)
