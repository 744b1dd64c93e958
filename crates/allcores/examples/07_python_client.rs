//! A Rust server, and a client in stock Python: `multiprocessing.connection` there, `Listener` here, and plain values as
//! pickles between them. Where there is no `python3`, a client in Rust says the same.
//!
//! `cargo run -p allcores --example 07_python_client`

use std::collections::BTreeMap;
use std::error::Error;
use std::io::ErrorKind;
use std::process::{Child, Command};
use std::thread::JoinHandle;
use std::time::Duration;

use allcores::multiprocessing::Connection;
use allcores::multiprocessing::connection::{
    AcceptError, Address, Client, Listener, Pickle, RecvError,
};
use serde::{Deserialize, Serialize};

/// In Python `{'Count': 'some text'}`, or `{'Longest': {'text': 'some text', 'most': 2}}`.
#[derive(Debug, Serialize, Deserialize)]
enum Request {
    Count(String),
    Longest { text: String, most: usize },
}

/// In Python a dict with these keys.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Reply {
    words: usize,
    times: BTreeMap<String, u32>,
    longest: Vec<String>,
}

const PYTHON: &str = r#"
import os
from multiprocessing.connection import Client

address = "\0" + os.environ["SERVER"]       # a name without a file
with Client(address, authkey=bytes.fromhex(os.environ["SERVER_KEY"])) as server:
    def ask(request):
        server.send(request)
        return server.recv()

    reply = ask({"Count": "the cat sat on the mat, the dog did not"})
    assert reply["words"] == 10, reply
    assert reply["times"]["the"] == 3, reply

    reply = ask({"Longest": {"text": "a lock, an event, a barrier and a condition", "most": 2}})
    assert reply["longest"] == ["condition", "barrier"], reply

    server.send({"Dance": None})            # no such request: our mistake, and the server lives
    assert ask({"Count": ""})["words"] == 0
"#;

fn answer(request: &Request) -> Reply {
    let (Request::Count(text) | Request::Longest { text, .. }) = request;
    let words: Vec<&str> = text
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect();
    let mut reply = Reply {
        words: words.len(),
        ..Reply::default()
    };
    match request {
        Request::Count(_) => {
            for word in words {
                *reply.times.entry(word.to_owned()).or_default() += 1;
            }
        }
        Request::Longest { most, .. } => {
            let mut words = words;
            words.sort_by_key(|word| std::cmp::Reverse(word.len()));
            let longest = words.into_iter().take(*most);
            reply.longest = longest.map(str::to_owned).collect();
        }
    }
    reply
}

/// Answers until the client has gone.
fn serve(client: &Connection<Reply, Request, Pickle>) -> Result<(), Box<dyn Error>> {
    loop {
        match client.recv() {
            Ok(request) => {
                let reply = answer(&request);
                println!("client: {request:?}\nserver: {reply:?}");
                client.send(&reply)?;
            }
            // What cannot be understood has been taken off the wire, so the next message can be.
            Err(RecvError::Decode { reason, .. }) => println!("client: ? ({reason})"),
            Err(RecvError::Closed) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

enum Peer {
    Python(Child),
    Rust(JoinHandle<()>),
}

impl Peer {
    /// Starts Python, if there is one.
    fn start(address: &Address, key: &[u8]) -> Result<Peer, Box<dyn Error>> {
        let name = address.as_abstract_name().ok_or("an abstract name")?;
        let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        let python = Command::new("python3")
            .args(["-c", PYTHON])
            .env("SERVER", std::str::from_utf8(name)?)
            // Not as an argument, which everybody on this machine can read.
            .env("SERVER_KEY", hex)
            .spawn();
        match python {
            Ok(child) => Ok(Peer::Python(child)),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                println!("(there is no python3 here; a client in Rust takes its part)");
                let client = Client::to(address.clone()).authkey(key);
                Ok(Peer::Rust(std::thread::spawn(move || {
                    let server: Connection<Request, Reply, Pickle> =
                        client.connect().expect("the server listens");
                    let text = "the cat sat on the mat, the dog did not".to_owned();
                    server.send(&Request::Count(text)).expect("it listens");
                    assert_eq!(server.recv().expect("it answers").words, 10);
                })))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn has_ended(&mut self) -> std::io::Result<bool> {
        match self {
            Peer::Python(child) => child.try_wait().map(|status| status.is_some()),
            Peer::Rust(thread) => Ok(thread.is_finished()),
        }
    }

    fn end(self) -> Result<(), Box<dyn Error>> {
        match self {
            Peer::Python(mut child) => match child.wait()? {
                status if status.success() => Ok(()),
                status => Err(format!("the client failed: {status}").into()),
            },
            Peer::Rust(thread) => thread.join().map_err(|_| "the client failed".into()),
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut key = [0; 32];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut key)?;
    let listener = Listener::at(Address::unnamed()).authkey(key).bind()?;
    println!("listening at {}", listener.address());

    let mut peer = Peer::start(listener.address(), &key)?;
    let client = loop {
        match listener.accept_timeout(Duration::from_secs(1)) {
            Ok(Some(client)) => break client,
            // Somebody who is not our client; it may come yet.
            Err(AcceptError::Handshake { source, .. }) => println!("turned away: {source}"),
            Err(error) => return Err(error.into()),
            Ok(None) if peer.has_ended()? => return peer.end(),
            Ok(None) => {}
        }
    };
    serve(&client)?;
    peer.end()?;
    println!("the client has gone, content");
    Ok(())
}
