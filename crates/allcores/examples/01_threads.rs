//! Threads in Python's two steps, with a typed result.
//!
//! `cargo run -p allcores --example 01_threads`

use allcores::threading::{Lock, Thread};
use std::sync::Arc;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let total = Arc::new(Lock::new(0u64));

    let threads: Vec<_> = (1..=4u64)
        .map(|n| {
            let total = total.clone();
            Thread::new(move || {
                let sum = (1..=n * 1000).sum::<u64>();
                *total.acquire() += sum;
                sum
            })
            .name(format!("adder-{n}"))
        })
        .collect();
    for thread in &threads {
        thread.start()?;
    }
    let mut sums = Vec::new();
    for thread in &threads {
        sums.push(thread.result()?);
    }

    println!("sums {sums:?}, total {}", *total.acquire());
    assert_eq!(sums.iter().sum::<u64>(), *total.acquire());

    // A panic is a value, not the end of the program.
    let unlucky = Thread::new(|| -> u32 { panic!("no luck today") });
    unlucky.start()?;
    println!("joined: {}", unlucky.join().unwrap_err());
    Ok(())
}
