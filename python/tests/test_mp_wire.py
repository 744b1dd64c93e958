"""The interpreter's own connections at the other end: every Python from 3.11 on that is found on this machine."""

import os
import pathlib
import shutil
import subprocess
import textwrap

import pytest

from allcores.multiprocessing.connection import AuthenticationError, Client, Listener

SIZES = [0, 1, 16384, 16385, 3 << 20]


def _interpreters():
    root = pathlib.Path(os.environ.get("PYENV_ROOT", pathlib.Path.home() / ".pyenv"))
    found = {}
    for minor in range(11, 16):
        candidates = sorted(map(str, root.glob(f"versions/3.{minor}.*/bin/python")))
        candidates.append(shutil.which(f"python3.{minor}"))
        for candidate in filter(None, candidates):
            found.setdefault(f"3.{minor}", candidate)
    return [pytest.param(path, id=version) for version, path in found.items()] or [
        pytest.param(None, marks=pytest.mark.skip(reason="no python3.x in pyenv's versions or on the PATH"))
    ]


@pytest.fixture(params=_interpreters())
def peer(request):
    """Starts a program of the interpreter's own multiprocessing."""
    started = []

    def start(code, *args):
        process = subprocess.Popen(
            [request.param, "-c", textwrap.dedent(code), *map(str, args)],
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


SERVER = """
    import sys
    from multiprocessing.connection import Listener
    with Listener(family=sys.argv[1], authkey=b"key") as listener:
        print(repr(listener.address), flush=True)
        try:
            connection = listener.accept()
        except Exception as error:
            print(type(error).__name__, flush=True)
            sys.exit()
        while True:
            kind, value = connection.recv()
            if kind == "bytes":
                connection.send_bytes(connection.recv_bytes())
            elif kind == "object":
                connection.send(value)
            else:
                break
"""

CLIENT = """
    import ast, sys
    from multiprocessing.connection import Client
    try:
        connection = Client(ast.literal_eval(sys.argv[1]), authkey=sys.argv[2].encode())
    except Exception as error:
        print(type(error).__name__, flush=True)
        sys.exit()
    while True:
        kind, value = connection.recv()
        if kind == "bytes":
            connection.send_bytes(connection.recv_bytes())
        elif kind == "object":
            connection.send(value)
        else:
            break
"""


def converse(connection):
    for size in SIZES:
        message = os.urandom(size)
        connection.send(("bytes", None))
        connection.send_bytes(message)
        assert connection.recv_bytes() == message
    for value in (None, 2**70, ["text", {"a": (1, 2.5)}], b"x" * (3 << 20), bytearray(b"y" * (2 << 20))):
        connection.send(("object", value))
        assert connection.recv() == value
    connection.send(("end", None))


@pytest.mark.parametrize("family", ["AF_UNIX", "AF_INET"])
def test_a_stock_server(peer, family):
    import ast

    server = peer(SERVER, family)
    with Client(ast.literal_eval(server.stdout.readline()), authkey=b"key") as connection:
        converse(connection)
    assert server.wait() == 0


@pytest.mark.parametrize("family", ["AF_UNIX", "AF_INET"])
def test_a_stock_client(peer, family):
    with Listener(family=family, authkey=b"key") as listener:
        client = peer(CLIENT, repr(listener.address), "key")
        with listener.accept() as connection:
            converse(connection)
    assert client.wait() == 0


def test_a_stock_client_with_the_wrong_key(peer):
    with Listener(authkey=b"key") as listener:
        client = peer(CLIENT, repr(listener.address), "wrong")
        with pytest.raises(AuthenticationError):
            listener.accept()
    assert client.stdout.readline() == "AuthenticationError\n"


def test_a_stock_server_that_has_another_key(peer):
    import ast

    server = peer(SERVER, "AF_UNIX")
    with pytest.raises(AuthenticationError):
        Client(ast.literal_eval(server.stdout.readline()), authkey=b"wrong")
    assert server.stdout.readline() == "AuthenticationError\n"


def test_descriptors(peer):
    from multiprocessing.reduction import recv_handle, send_handle

    client_code = """
        import ast, os, sys
        from multiprocessing.connection import Client
        from multiprocessing.reduction import recv_handle, send_handle
        connection = Client(ast.literal_eval(sys.argv[1]), authkey=b"key")
        os.write(recv_handle(connection), b"from there")
        r, w = os.pipe()
        os.write(w, b"and back")
        send_handle(connection, r, None)
        connection.recv()
    """
    with Listener(authkey=b"key") as listener:
        client = peer(client_code, repr(listener.address))
        with listener.accept() as connection:
            reader, writer = os.pipe()
            send_handle(connection, writer, client.pid)
            assert os.read(reader, 100) == b"from there"
            received = recv_handle(connection)
            assert os.read(received, 100) == b"and back"
            connection.send("thanks")
    for descriptor in (reader, writer, received):
        os.close(descriptor)
    assert client.wait() == 0
