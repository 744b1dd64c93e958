//! Two unrelated programs share an array and a lock. The server starts the other one only for want of a second terminal:
//! they know of each other by an address and a key, and nothing else.
//!
//! ```text
//! cargo run --release -p allcores --example 08_strangers
//! ```

use std::error::Error;
use std::process::Command;

use allcores::multiprocessing::connection::{Address, Client, Connection, Listener};
use allcores::multiprocessing::{Array, Barrier, Event, Lock};
use allcores::shm::Arena;
use serde::{Deserialize, Serialize};

const KEY: &str = "not much of a secret";
const ROUNDS: u64 = 10_000;

/// What the two share. All of it lies in an arena of its own: a handle into the one that a program shares with its children
/// does not travel to a stranger.
#[derive(Serialize, Deserialize)]
struct Shared {
    histogram: Array<u64>,
    total: Lock<u64>,
    begin: Barrier,
    done: Event,
}

impl Shared {
    fn new() -> Result<Shared, Box<dyn Error>> {
        let arena = Arena::new()?;
        Ok(Shared {
            histogram: Array::new_in(&arena, 10)?,
            total: Lock::new_in(&arena, 0)?,
            begin: Barrier::new_in(&arena, 2)?,
            done: Event::new_in(&arena)?,
        })
    }

    /// What both programs do, at the same time.
    fn work(&self, step: u64) -> Result<(), Box<dyn Error>> {
        self.begin.wait()?;
        for n in 0..ROUNDS {
            let place = (n * step % 10) as usize;
            self.histogram.update(|all| all[place] += 1)?;
            // A stranger may die as well: then we are told, and hold the lock.
            *self.total.acquire().unwrap_or_else(|died| died.recover()) += 1;
        }
        Ok(())
    }
}

fn server() -> Result<(), Box<dyn Error>> {
    let name = format!("allcores-strangers-{}", std::process::id());
    let listener = Listener::at(Address::abstract_name(&name))
        .authkey(KEY)
        .bind()?;
    let mut other = Command::new(std::env::current_exe()?).arg(name).spawn()?;
    let stranger: Connection<Shared, u32> = listener.accept()?;
    println!("server: process {} has connected", stranger.recv()?);

    // What lies in the common arena stays among relatives.
    let common = Shared {
        histogram: Array::new(10)?,
        total: Lock::new(0)?,
        begin: Barrier::new(2)?,
        done: Event::new()?,
    };
    let refused = stranger
        .send(&common)
        .expect_err("strangers get none of it");
    println!("server: refused, as it should be: {refused}");

    let shared = Shared::new()?;
    stranger.send(&shared)?;
    shared.work(1)?;
    shared.done.wait();
    let total = *shared.total.acquire().unwrap_or_else(|died| died.recover());
    println!("server: {total} in all, {:?}", shared.histogram.to_vec()?);
    assert_eq!(total, 2 * ROUNDS);
    assert_eq!(shared.histogram.to_vec()?, [ROUNDS / 5; 10]);
    assert!(other.wait()?.success());
    Ok(())
}

fn stranger(name: &str) -> Result<(), Box<dyn Error>> {
    let server: Connection<u32, Shared> = Client::to(Address::abstract_name(name))
        .authkey(KEY)
        .connect()?;
    server.send(&std::process::id())?;
    let shared = server.recv()?;
    shared.work(3)?;
    shared.done.set();
    println!("stranger: done");
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    match std::env::args().nth(1) {
        None => server(),
        Some(name) => stranger(&name),
    }
}
