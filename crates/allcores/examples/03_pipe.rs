//! A Pipe between two processes: typed messages both ways, with a lock as part of one.
//!
//! `cargo run -p allcores --example 03_pipe`

use allcores::multiprocessing::{Connection, Lock, Pipe, Process};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
enum Request {
    /// How long is this text?
    Measure(String),
    /// Add this to the number that the lock protects.
    Add(Lock<u64>, u64),
    Stop,
}

fn serve(client: Connection<usize, Request>) {
    loop {
        match client.recv().expect("the client asks until it says Stop") {
            Request::Measure(text) => client.send(&text.chars().count()).unwrap(),
            Request::Add(total, number) => {
                *total.acquire().unwrap() += number;
                client.send(&0).unwrap();
            }
            Request::Stop => return,
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (theirs, ours) = Pipe()?;
    let server = Process::new(serve, theirs).name("server").start()?;

    ours.send(&Request::Measure("Grüße".into()))?;
    println!("the server counts {} characters", ours.recv()?);

    let total = Lock::new(40)?;
    ours.send(&Request::Add(total.clone(), 2))?;
    ours.recv()?;
    println!(
        "the lock that we share protects {}",
        *total.acquire().unwrap()
    );
    assert_eq!(*total.acquire().unwrap(), 42);

    ours.send(&Request::Stop)?;
    server.join()?;
    Ok(())
}
