//! Stock Python on the other side of a name. Passes without a look where there is none.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use allcores::multiprocessing::SharedMemory;

use crate::util::{Cleared, exists, name, turn};

/// A Python that runs `script`, says `ready` and waits to be told to go on.
struct Python(Child, ChildStdin, BufReader<ChildStdout>);

fn python(script: &str, argument: &str) -> Option<Python> {
    let child = Command::new("python3")
        .args(["-c", script, argument])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null()) // the resource tracker has much to say
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("no python3 here: not tested");
            return None;
        }
        Err(error) => panic!("{error}"),
    };
    let (to, from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut python = Python(child, to, BufReader::new(from));
    python.ready();
    Some(python)
}

impl Python {
    fn ready(&mut self) {
        let mut line = String::new();
        self.2.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
    }

    fn go_on(&mut self) {
        self.1.write_all(b"\n").unwrap();
    }

    fn end(mut self) {
        self.go_on();
        assert!(self.0.wait().unwrap().success());
    }
}

#[test]
fn python_attaches_ours() {
    let _turn = turn();
    let name = name("for-python");
    let memory = SharedMemory::create(&name, 1000).unwrap();
    memory.write_at(0, b"from rust").unwrap();
    let script = "
import sys
from multiprocessing.shared_memory import SharedMemory
m = SharedMemory(sys.argv[1])
assert m.size == 1000 and bytes(m.buf[:9]) == b'from rust'
m.buf[990:1000] = b'from there'
print('ready', flush=True)
sys.stdin.readline()
m.close()
";
    let Some(python) = python(script, &name) else {
        return;
    };
    let mut text = [0; 10];
    memory.read_at(990, &mut text).unwrap();
    assert_eq!(&text, b"from there");
    // Up to 3.12 an attacher's resource tracker unlinks at its end; what we hold stays whole.
    python.end();
    memory.read_at(990, &mut text).unwrap();
    assert_eq!(&text, b"from there");
    memory.close().unwrap();
    assert!(!exists(&name));
}

#[test]
fn we_attach_pythons_and_leave_it_to_python() {
    let _turn = turn();
    let name = Cleared(name("of-python"));
    let script = "
import sys
from multiprocessing.shared_memory import SharedMemory
m = SharedMemory(sys.argv[1], create=True, size=9000)
m.buf[0:5] = b'hello'
print('ready', flush=True)
sys.stdin.readline()
assert bytes(m.buf[8990:9000]) == b'here we go'
print('ready', flush=True)
sys.stdin.readline()
SharedMemory(sys.argv[1]).close()
m.close()
m.unlink()
";
    let Some(mut python) = python(script, &name.0) else {
        return;
    };
    let memory = SharedMemory::attach(&name.0).unwrap();
    let mut text = [0; 5];
    memory.read_at(0, &mut text).unwrap();
    assert_eq!(&text, b"hello");
    memory.write_at(8990, b"here we go").unwrap();
    python.go_on();
    python.ready();
    memory.close().unwrap();
    assert!(exists(&name.0), "an attacher takes nothing away");
    python.end();
    assert!(!exists(&name.0));
}
