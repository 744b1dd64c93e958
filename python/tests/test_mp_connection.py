"""Connection, Pipe, wait: what CPython's suites do not ask."""

import array
import copyreg
import gc
import multiprocessing.connection as stock
import os
import pickle
import signal
import socket
import struct
import sys
import threading
import weakref
from multiprocessing import BufferTooShort
from multiprocessing.reduction import ForkingPickler

import pytest

from allcores.multiprocessing.connection import Client, Connection, Listener, Pipe, wait


@pytest.fixture(params=[True, False], ids=["duplex", "simplex"])
def pipe(request):
    """(reader, writer)"""
    ends = Pipe(request.param)
    yield ends
    for end in ends:
        end.close()


def in_thread(function, *args):
    """Runs it beside the test; its result or exception comes from the function that is returned."""
    outcome = []

    def run():
        try:
            outcome.append((function(*args), None))
        except BaseException as error:
            outcome.append((None, error))

    thread = threading.Thread(target=run)
    thread.start()

    def result():
        thread.join()
        value, error = outcome[0]
        if error is not None:
            raise error
        return value

    return result


@pytest.mark.parametrize("size", [0, 1, 8191, 8192, 8193, 16384, 16385, 1 << 20, (4 << 20) + 3])
def test_bytes_of_every_length_arrive(pipe, size):
    reader, writer = pipe
    message = os.urandom(size)
    sent = in_thread(writer.send_bytes, message)
    assert reader.recv_bytes() == message
    sent()
    sent = in_thread(writer.send_bytes, message)
    place = bytearray(size + 5)
    assert reader.recv_bytes_into(place, 5) == size
    sent()
    assert place == bytes(5) + message


def test_parts_of_any_buffer(pipe):
    reader, writer = pipe
    numbers = array.array("i", range(10))
    writer.send_bytes(numbers, 4, 8)
    assert reader.recv_bytes() == numbers.tobytes()[4:12]
    writer.send_bytes(memoryview(b"abcdef")[::2])
    assert reader.recv_bytes() == b"ace"
    writer.send_bytes(memoryview(numbers)[2:4])
    assert reader.recv_bytes() == numbers[2:4].tobytes()
    for wrong in [(b"ab", -1), (b"ab", 3), (b"ab", 0, -1), (b"ab", 1, 2)]:
        with pytest.raises(ValueError):
            writer.send_bytes(*wrong)
    for no_bytes in ("text", 5, memoryview(numbers)[::2]):
        with pytest.raises(TypeError):
            writer.send_bytes(no_bytes)
    assert not reader.poll()


def test_no_room_for_the_message(pipe):
    reader, writer = pipe
    for size in (10, 20_000):
        writer.send_bytes(bytes(size))
        with pytest.raises(BufferTooShort) as told:
            reader.recv_bytes_into(bytearray(9))
        assert told.value.args == (bytes(size),)
    with pytest.raises(ValueError):
        reader.recv_bytes_into(bytearray(3), -1)
    with pytest.raises(ValueError):
        reader.recv_bytes_into(bytearray(3), 4)
    with pytest.raises(TypeError):
        reader.recv_bytes_into(b"read only")


def test_what_is_closed_or_one_way_says_so():
    reader, writer = Pipe(False)
    assert (reader.readable, reader.writable, writer.readable, writer.writable) == (True, False, False, True)
    with pytest.raises(OSError, match="connection is read-only"):
        reader.send(1)
    for use in (writer.recv, writer.recv_bytes, writer.poll, lambda: writer.recv_bytes_into(bytearray(1))):
        with pytest.raises(OSError, match="connection is write-only"):
            use()
    with reader, writer:
        pass
    assert reader.closed and writer.closed
    for use in (reader.recv, reader.fileno, reader.poll, lambda: writer.send(1), lambda: writer.send_bytes(b"")):
        with pytest.raises(OSError, match="handle is closed"):
            use()
    reader.close()
    for wrong in [(-1,), (5, False, False)]:
        with pytest.raises(ValueError):
            Connection(*wrong)
    with pytest.raises(AttributeError):
        Connection("5")


def test_the_end_and_a_broken_pipe(pipe):
    reader, writer = pipe
    writer.send("last")
    writer.close()
    assert reader.poll(None) and reader.recv() == "last"
    assert reader.poll()
    for receive in (reader.recv, reader.recv_bytes):
        with pytest.raises(EOFError):
            receive()
    ends = Pipe(False)
    ends[0].close()
    with pytest.raises(BrokenPipeError):
        ends[1].send(1)


def test_a_peer_that_dies_in_the_middle_of_a_frame(pipe):
    reader, writer = pipe
    os.write(writer.fileno(), struct.pack("!i", 100_000) + b"half")
    writer.close()
    with pytest.raises(OSError, match="got end of file during message"):
        reader.recv_bytes()


@pytest.mark.parametrize("header", [struct.pack("!i", -5), b"\xff\xff\xff\xff" + b"\xff" * 8], ids=["negative", "huge"])
def test_lengths_that_cannot_be(header):
    for duplex in (True, False):
        reader, writer = Pipe(duplex)
        os.write(writer.fileno(), header)
        with pytest.raises(OSError, match="bad message length"):
            reader.recv_bytes()
        # As for a message that is longer than allowed: what follows is no header.
        assert reader.closed is not duplex
        if duplex:
            with pytest.raises(OSError, match="connection is write-only"):
                reader.recv()
            reader.send("still there")
            assert writer.recv() == "still there"
        reader.close()
        writer.close()


def test_memory_is_not_given_on_the_word_of_a_header(run_script):
    script = """
        import os, resource, struct
        from allcores.multiprocessing.connection import Pipe
        reader, writer = Pipe()
        # 64 TiB, and a peer that is gone.
        os.write(writer.fileno(), b"\\xff\\xff\\xff\\xff" + struct.pack("!Q", 1 << 46))
        writer.close()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            reader.recv_bytes()
        except OSError as error:
            print(error)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000
    """
    assert run_script(script).ok() == "got end of file during message\n"


def test_a_message_that_is_longer_than_allowed_is_not_read():
    reader, writer = Pipe()
    writer.send_bytes(b"12345")
    with pytest.raises(OSError, match="bad message length"):
        reader.recv_bytes(4)
    assert os.read(reader.fileno(), 10) == b"12345"
    with pytest.raises(ValueError):
        writer.recv_bytes(-1)
    reader.close()
    writer.close()


class Registered:
    def __init__(self, value):
        self.value = value


def test_registrations_count_whenever_they_come(pipe):
    reader, writer = pipe
    for number, register in enumerate([ForkingPickler.register, copyreg.pickle]):
        kind = type(f"Kind{number}", (Registered,), {})
        for value in (1, 2):
            register(kind, lambda kept, value=value: (int, (kept.value + value,)))
            writer.send([kind(10), kind(20)])
            assert reader.recv() == [10 + value, 20 + value]
        ForkingPickler._extra_reducers.pop(kind, None)
        copyreg.dispatch_table.pop(kind, None)


def test_what_does_not_pickle_raises_here_and_spoils_nothing(pipe):
    reader, writer = pipe

    class Local:
        pass

    with pytest.raises((pickle.PicklingError, AttributeError)):
        writer.send([b"x" * 100_000, Local()])
    assert not reader.poll()
    writer.send("fine")
    assert reader.recv() == "fine"


class SendsWhilePickled:
    def __init__(self, writer):
        self.writer = writer

    def __reduce__(self):
        self.writer.send("inner")
        return str, ("outer",)


def test_pickling_may_send(pipe):
    reader, writer = pipe
    writer.send(SendsWhilePickled(writer))
    assert (reader.recv(), reader.recv()) == ("inner", "outer")


def test_nothing_that_was_sent_is_kept(pipe):
    reader, writer = pipe
    sent = Registered({"big": bytes(100)})
    watched = weakref.ref(sent)
    writer.send(sent)
    del sent
    gc.collect()
    assert watched() is None
    assert reader.recv().value == {"big": bytes(100)}


def test_arrays_of_numpy(pipe):
    numpy = pytest.importorskip("numpy")
    reader, writer = pipe
    wide = numpy.arange(1 << 20).reshape(1 << 10, -1)
    for sent in (wide, wide[::3], wide.T, numpy.asfortranarray(wide), numpy.zeros(0), numpy.arange(3)):
        done = in_thread(writer.send, [sent, "and", sent])
        received, _, again = reader.recv()
        done()
        assert (received == sent).all() and received.flags.writeable and again is received
    large = bytearray(b"x" * (3 << 20))
    done = in_thread(writer.send, (large, bytes(large)))
    assert reader.recv() == (large, bytes(large))
    done()


def test_one_world_with_the_interpreters(pipe):
    reader, writer = pipe
    assert isinstance(reader, stock.Connection)
    writer.send(1)
    ours, theirs = Pipe(), stock.Pipe()
    left, right = socket.socketpair()
    everything = [reader, ours[0], theirs[0], left, right.fileno()]
    theirs[1].send(2)
    for wait_for in (wait, stock.wait):
        assert wait_for(everything, 0) == [reader, theirs[0]]
        assert wait_for(everything) == [reader, theirs[0]]
        assert wait_for([ours[0], left], 0.01) == [] == wait_for([], 0)
    ours[1].close()
    assert wait(everything, 0) == [reader, ours[0], theirs[0]]
    for wrong, error in [(["no file"], ValueError), ([-1], ValueError), ([left, left], KeyError)]:
        with pytest.raises(error):
            wait(wrong, 0)
    left.close()
    right.close()
    for end in (*theirs, ours[0]):
        end.close()


def echo(connection):
    while True:
        message = connection.recv()
        if message == "end":
            return
        if isinstance(message, Connection):
            message.send("hello")
        else:
            connection.send(message)


def test_with_children_and_connections_inside_messages(ctx):
    ours, theirs = ctx.Pipe()
    child = ctx.Process(target=echo, args=(theirs,))
    child.start()
    theirs.close()
    ours.send([1, "two"])
    assert type(ours) is Connection and ours.recv() == [1, "two"]
    inner, travelling = ctx.Pipe()
    ours.send(travelling)
    assert inner.recv() == "hello"
    assert not wait([child.sentinel], 0)
    ours.send("end")
    assert wait([child.sentinel]) == [child.sentinel]
    child.join()
    assert child.exitcode == 0


def send_half(connection):
    os.write(connection.fileno(), struct.pack("!i", 1 << 20) + bytes(1000))
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_child_that_is_killed_in_the_middle_of_a_frame(ctx):
    ours, theirs = ctx.Pipe()
    child = ctx.Process(target=send_half, args=(theirs,))
    child.start()
    theirs.close()
    with pytest.raises(OSError, match="got end of file during message"):
        ours.recv()
    child.join()
    assert child.exitcode == -signal.SIGKILL


@pytest.mark.parametrize(
    "blocked",
    ["reader.recv()", "reader.recv_bytes()", "reader.poll(None)", "reader.poll(1000)", "wait([reader])",
     "writer.send_bytes(bytes(100 << 20))", "reader.recv_bytes_into(bytearray(10))"],
)  # fmt: skip
def test_ctrl_c_leaves(run_script, blocked):
    script = f"""
        import signal
        from allcores.multiprocessing.connection import Pipe, wait
        from asleep import signal_when_asleep
        reader, writer = Pipe()
        signal_when_asleep(signal.SIGINT)
        try:
            {blocked}
        except KeyboardInterrupt:
            print("left")
    """
    assert run_script(script).ok() == "left\n"


def test_signal_handlers_that_return_end_no_wait(run_script):
    script = """
        import signal, threading
        from allcores.multiprocessing.connection import Pipe, wait
        reader, writer = Pipe()
        seen, told = [], []
        def handler(*_):
            seen.append(1)
            # More, if another signal has come since it was counted; and that one may have told.
            if len(seen) >= 20 and not told:
                told.append(1)
                signal.setitimer(signal.ITIMER_REAL, 0)
                threading.Thread(target=writer.send, args=("message",)).start()
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        print(reader.recv(), len(seen) >= 20)
    """
    assert run_script(script).ok() == "message True\n"


def test_a_listener_and_a_client():
    for family in ("AF_UNIX", "AF_INET"):
        with Listener(family=family, authkey=b"key") as listener:
            accepted = in_thread(listener.accept)
            with Client(listener.address, authkey=b"key") as client, accepted() as server:
                assert type(client) is Connection is type(server)
                client.send("question")
                assert server.recv() == "question"
            accepted = in_thread(listener.accept)
            with pytest.raises(stock.AuthenticationError):
                Client(listener.address, authkey=b"wrong")
            with pytest.raises((stock.AuthenticationError, EOFError, OSError)):
                accepted()
    with pytest.raises(OSError):
        listener.accept()
    with pytest.raises(TypeError):
        Listener(authkey="text")


def test_every_name_of_the_interpreters_module():
    import allcores.multiprocessing.connection as ours

    for name in vars(stock):
        if not name.startswith("__"):
            assert hasattr(ours, name), name
    assert sorted(ours.__all__) == sorted(stock.__all__)


@pytest.mark.skipif(sys.maxsize < 2**32, reason="needs 64 bits")
@pytest.mark.skipif(not os.environ.get("ALLCORES_BIG"), reason="takes 5 GB of memory: set ALLCORES_BIG=1")
def test_beyond_two_gibibytes():
    reader, writer = Pipe()
    message = bytes((1 << 31) + 7)
    sent = in_thread(writer.send_bytes, message)
    assert reader.recv_bytes() == message
    sent()
