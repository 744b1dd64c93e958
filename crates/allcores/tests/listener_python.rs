//! Stock CPython behind a Listener and behind a Client, in every version that is installed.

mod python;

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Child;
use std::time::Duration;

use allcores::multiprocessing::connection::{
    AcceptError, Address, AuthError, Client, ConnectError, HandshakeError, Listener,
};
use allcores::multiprocessing::{Connection, Pipe, wait};
use python::{Python, interpreters};

type Bytes = Connection<(), ()>;

/// Longer than anything that gets on.
const LONG: Duration = Duration::from_secs(600);

/// A folder of its own, that goes with its socket.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        // At random: others in this folder may have the same process number, in a namespace of their own or long ago.
        let name = format!("allcores-{:x}", RandomState::new().hash_one(0));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Folder(path)
    }

    fn address(&self) -> Address {
        Address::unix(self.0.join("socket"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// An address as Python writes it.
fn literal(address: &Address) -> String {
    match (address.as_path(), address.as_abstract_name()) {
        (Some(path), _) => format!("{:?}", path.to_str().unwrap()),
        (_, Some(name)) => format!("'\\x00{}'", name.escape_ascii()),
        _ => {
            let address = address.as_socket_addr().unwrap();
            format!("('{}', {})", address.ip(), address.port())
        }
    }
}

/// What every script begins with: a connection to the test that is none of those under test, so that each knows where the other is.
const PROLOGUE: &str = "
import os, sys
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, Listener
from multiprocessing import reduction
test = Connection(0)
";

fn start(python: &Python, script: &str) -> (Child, Bytes) {
    let (ours, theirs) = Pipe::<(), ()>().unwrap();
    let child = python.run(&format!("{PROLOGUE}{script}"), OwnedFd::from(theirs));
    (child, ours)
}

/// The next client, or a panic where Python has ended instead of connecting.
fn accept(listener: &Listener, test: &Bytes) -> Result<Bytes, AcceptError> {
    let ready = wait(&[listener, test], None).unwrap();
    assert!(ready.contains(&0), "Python has ended");
    listener.accept()
}

fn finish(mut child: Child, python: &Python) {
    assert!(child.wait().unwrap().success(), "Python {}", python.version);
}

/// Sizes on both sides of where CPython writes header and payload apart.
const SIZES: [usize; 6] = [0, 1, 64, 16_384, 16_385, 1_000_000];

fn talk(connection: &Bytes) {
    for size in SIZES {
        let sent: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
        connection.send_bytes(&sent).unwrap();
        assert!(
            connection.recv_bytes().unwrap() == sent,
            "{size} bytes came back changed"
        );
    }
    connection.send_bytes(b"end").unwrap();
    assert_eq!(connection.recv_bytes().unwrap(), b"END");
}

const ECHO: &str = "
def echo(c):
    while True:
        got = c.recv_bytes()
        if got == b'end':
            break
        c.send_bytes(got)
    c.send_bytes(b'END')
";

#[test]
fn python_connects_to_our_listener() {
    let folder = Folder::new();
    for python in interpreters() {
        let listeners: Vec<_> = [
            (folder.address(), None),
            (Address::unnamed(), Some("secret")),
            (Address::tcp("127.0.0.1:0"), None),
            (Address::tcp("127.0.0.1:0"), Some("secret")),
        ]
        .map(|(address, key)| {
            let builder = Listener::at(address).handshake_timeout(LONG);
            let builder = match key {
                Some(key) => builder.authkey(key),
                None => builder,
            };
            (builder.bind().unwrap(), key)
        })
        .into();
        let mut script = ECHO.to_owned();
        for (listener, key) in &listeners {
            let address = literal(listener.address());
            script += &format!("echo(Client({address}, authkey={}))\n", secret(*key));
        }
        let (child, test) = start(&python, &script);
        for (listener, _) in &listeners {
            talk(&accept(listener, &test).unwrap());
        }
        finish(child, &python);
    }
}

fn secret(key: Option<&str>) -> String {
    key.map_or("None".into(), |key| format!("b'{key}'"))
}

#[test]
fn we_connect_to_pythons_listener() {
    let folder = Folder::new();
    for python in interpreters() {
        let here = literal(&folder.address());
        let mut cases = vec![
            (here.as_str(), None),
            (&here, Some("secret")),
            ("('127.0.0.1', 0)", None),
            ("('127.0.0.1', 0)", Some("secret")),
        ];
        // 3.6 cannot close such a listener.
        if python.version != "3.6" {
            cases.push(("'\\0allcores-%d' % os.getpid()", Some("secret")));
        }
        let mut script = format!(
            "{ECHO}
def serve(address, authkey):
    with Listener(address, authkey=authkey) as listener:
        at = listener.address
        if isinstance(at, tuple):
            at = '%s:%d' % at
        test.send_bytes(at if isinstance(at, bytes) else at.encode())
        echo(listener.accept())
"
        );
        for (address, key) in &cases {
            script += &format!("serve({address}, {})\n", secret(*key));
        }
        let (child, test) = start(&python, &script);
        for (_, key) in cases {
            let at = test.recv_bytes().unwrap();
            let at = match &at[..] {
                [0, name @ ..] => Address::abstract_name(name),
                [b'/', ..] => Address::unix(std::str::from_utf8(&at).unwrap()),
                _ => Address::tcp(std::str::from_utf8(&at).unwrap()),
            };
            let client = Client::to(at);
            let client = match key {
                Some(key) => client.authkey(key),
                None => client,
            };
            talk(&client.connect().unwrap());
        }
        finish(child, &python);
    }
}

#[test]
fn a_python_client_with_the_wrong_key_is_refused_and_the_next_one_is_let_in() {
    for python in interpreters() {
        let listener = Listener::at(Address::unnamed()).authkey("right");
        let listener = listener.handshake_timeout(LONG).bind().unwrap();
        let address = literal(listener.address());
        let script = format!(
            "{ECHO}
try:
    Client({address}, 'AF_UNIX', authkey=b'wrong')
except AuthenticationError as error:
    assert 'rejected' in str(error), error
    test.send_bytes(b'refused')
echo(Client({address}, 'AF_UNIX', authkey=b'right'))"
        );
        let (child, test) = start(&python, &script);
        match accept(&listener, &test) {
            Err(AcceptError::Handshake {
                source: HandshakeError::Auth(AuthError::WrongAnswer),
                ..
            }) => {}
            other => panic!("Python {}: {other:?}", python.version),
        }
        assert_eq!(test.recv_bytes().unwrap(), b"refused");
        talk(&accept(&listener, &test).unwrap());
        finish(child, &python);
    }
}

#[test]
fn a_python_listener_that_does_not_know_our_key_says_so() {
    let folder = Folder::new();
    for python in interpreters() {
        let address = literal(&folder.address());
        let script = format!(
            "{ECHO}
with Listener({address}, authkey=b'right') as listener:
    test.send_bytes(b'ready')
    try:
        listener.accept()
    except AuthenticationError as error:
        test.send_bytes(b'refused')
    echo(listener.accept())"
        );
        let (child, test) = start(&python, &script);
        assert_eq!(test.recv_bytes().unwrap(), b"ready");
        let client = Client::to(folder.address());
        match client.clone().authkey("wrong").connect::<(), (), ()>() {
            Err(ConnectError::Handshake {
                source: HandshakeError::Auth(AuthError::Refused),
                ..
            }) => {}
            other => panic!("Python {}: {other:?}", python.version),
        }
        assert_eq!(test.recv_bytes().unwrap(), b"refused");
        talk(&client.authkey("right").connect().unwrap());
        finish(child, &python);
    }
}

#[test]
fn a_python_server_that_lies_about_its_key_is_found_out() {
    // It welcomes whatever we answer, and cannot answer us.
    for python in interpreters() {
        let script = "
from multiprocessing import connection
with Listener(None, 'AF_UNIX') as listener:
    test.send_bytes(listener.address.encode())
    c = listener.accept()
    c.send_bytes(b'#CHALLENGE#' + os.urandom(20))
    assert len(c.recv_bytes()) == 16
    c.send_bytes(b'#WELCOME#')
    try:
        connection.answer_challenge(c, b'guessed')
    except AuthenticationError:
        test.send_bytes(b'found out')
";
        let (child, test) = start(&python, script);
        let at = String::from_utf8(test.recv_bytes().unwrap()).unwrap();
        let client = Client::to(Address::unix(at)).authkey("right");
        match client.connect::<(), (), ()>() {
            Err(ConnectError::Handshake {
                source: HandshakeError::Auth(AuthError::WrongAnswer),
                ..
            }) => {}
            other => panic!("Python {}: {other:?}", python.version),
        }
        assert_eq!(test.recv_bytes().unwrap(), b"found out");
        finish(child, &python);
    }
}

#[test]
fn python_may_challenge_by_any_of_its_digests() {
    for python in interpreters() {
        let script = "
from multiprocessing import connection
if not hasattr(connection, '_ALLOWED_DIGESTS'):
    test.send_bytes(b'old')
    sys.exit()
test.send_bytes(b'new')
for digest in ['md5', 'sha256', 'sha384', 'sha3_256', 'sha3_384']:
    with Listener(None, 'AF_UNIX') as listener:
        test.send_bytes(listener.address.encode())
        c = listener.accept()
        connection.deliver_challenge(c, b'secret', digest)
        connection.answer_challenge(c, b'secret')
        c.send_bytes(digest.encode())
test.send_bytes(b'done')
";
        let (child, test) = start(&python, script);
        if test.recv_bytes().unwrap() == b"new" {
            for digest in ["md5", "sha256", "sha384", "sha3_256", "sha3_384"] {
                let at = String::from_utf8(test.recv_bytes().unwrap()).unwrap();
                let client = Client::to(Address::unix(at)).authkey("secret");
                let connection: Bytes = client.connect().unwrap();
                assert_eq!(connection.recv_bytes().unwrap(), digest.as_bytes());
            }
            assert_eq!(test.recv_bytes().unwrap(), b"done");
        }
        finish(child, &python);
    }
}

#[test]
fn descriptors_go_to_python_and_come_from_it() {
    for python in interpreters() {
        let listener = Listener::at(Address::unnamed()).bind().unwrap();
        let address = literal(listener.address());
        let script = format!(
            "
c = Client({address}, 'AF_UNIX')
fd = reduction.recv_handle(c)
os.write(fd, b'from Python')
os.close(fd)
c.send_bytes(b'written')
r, w = os.pipe()
reduction.send_handle(c, r, None)
os.close(r)
os.write(w, b'through a pipe')
os.close(w)
"
        );
        let (child, test) = start(&python, &script);
        let connection = accept(&listener, &test).unwrap();
        let file = rustix::fs::memfd_create("file", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let mut file = File::from(file);
        file.write_all(b"To and ").unwrap();
        connection.send_handle(&file).unwrap();
        assert_eq!(connection.recv_bytes().unwrap(), b"written");
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "To and from Python");
        let pipe = File::from(connection.recv_handle().unwrap());
        assert_eq!(std::io::read_to_string(pipe).unwrap(), "through a pipe");
        finish(child, &python);
    }
}
