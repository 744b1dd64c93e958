//! A stock CPython at the other end of a Connection. Passes without a look where there is no `python3`.

use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Child, Command};

use allcores::multiprocessing::{Connection, StreamPipe};

const ECHO: &str = "
import sys
from multiprocessing.connection import Connection
c = Connection(int(sys.argv[1]))
while True:
    try:
        c.send_bytes(c.recv_bytes())
    except EOFError:
        break
c.send_bytes(b'end')
";

/// Starts CPython with `script`, and the far end of a Connection as its argument.
fn python(script: &str) -> Option<(Child, Connection<(), ()>)> {
    let (ours, theirs) = StreamPipe::<(), ()>().unwrap();
    let theirs = OwnedFd::from(theirs);
    // A duplicate without close-on-exec, on a number of its own.
    let passed = rustix::io::dup(&theirs).unwrap();
    let child = Command::new("python3")
        .args(["-c", script, &passed.as_raw_fd().to_string()])
        .spawn();
    match child {
        Ok(child) => Some((child, ours)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("no python3 here: not tested");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn cpython_understands_us_and_we_understand_it() {
    let Some((mut child, connection)) = python(ECHO) else {
        return;
    };
    for size in [0, 1, 16_383, 16_384, 16_385, 3_000_000] {
        let sent: Vec<u8> = (0..size).map(|i: usize| (i % 251) as u8).collect();
        connection.send_bytes(&sent).unwrap();
        assert!(
            connection.recv_bytes().unwrap() == sent,
            "{size} bytes came back changed"
        );
    }
    rustix::net::shutdown(&connection, rustix::net::Shutdown::Write).unwrap();
    assert_eq!(connection.recv_bytes().unwrap(), b"end");
    assert!(child.wait().unwrap().success());
}

#[test]
fn cpython_reads_a_long_header_and_refuses_what_is_too_long() {
    let script = "
import sys
from multiprocessing.connection import Connection
c = Connection(int(sys.argv[1]))
assert c.recv_bytes() == b'abc'
try:
    c.recv_bytes(10)
except OSError:
    c.send_bytes(b'refused')
";
    let Some((mut child, connection)) = python(script) else {
        return;
    };
    rustix::io::write(&connection, b"\xff\xff\xff\xff\0\0\0\0\0\0\0\x03abc").unwrap();
    connection.send_bytes(b"more than ten").unwrap();
    assert_eq!(connection.recv_bytes().unwrap(), b"refused");
    child.wait().unwrap();
}
