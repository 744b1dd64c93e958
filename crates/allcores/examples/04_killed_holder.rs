//! A process is killed while it holds a lock. The next one is told, mends the data, and goes on.
//!
//! `cargo run -p allcores --example 04_killed_holder`

use allcores::multiprocessing::{Event, Lock, Process};

/// Two numbers that should be equal whenever nobody holds the lock.
type Pair = [u64; 2];

fn stop_halfway((pair, halfway): (Lock<Pair>, Event)) {
    let mut pair = pair.acquire().unwrap();
    pair[0] += 1;
    halfway.set();
    // Never gets to the second number.
    loop {
        std::thread::park();
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pair = Lock::new([0, 0])?;
    let halfway = Event::new()?;

    let process = Process::new(stop_halfway, (pair.clone(), halfway.clone())).start()?;
    halfway.wait();
    process.kill()?;

    // With most locks this would be the end: nobody is left to release it.
    let guard = pair.acquire().unwrap_or_else(|died| {
        println!("{died}");
        let mut guard = died.into_guard();
        println!("found {:?}", *guard);
        guard[1] = guard[0];
        guard.recover();
        guard
    });
    println!("mended: {:?}", *guard);
    drop(guard);
    assert_eq!(*pair.acquire().unwrap(), [1, 1]);
    Ok(())
}
