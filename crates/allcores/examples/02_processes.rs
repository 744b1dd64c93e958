//! Processes: a plain function, its arguments, its result. No set-up, no macro.
//!
//! `cargo run -p allcores --example 02_processes`

use allcores::multiprocessing::{Process, cpu_count, current_process};

/// How many primes there are in a range, the slow way.
fn primes((from, to): (u64, u64)) -> usize {
    let is_prime = |n: &u64| {
        *n > 1
            && (2..)
                .take_while(|d| d * d <= *n)
                .all(|d| !n.is_multiple_of(d))
    };
    let found = (from..to).filter(is_prime).count();
    println!(
        "{:>12}: {found} primes in {from}..{to}",
        current_process().name()
    );
    found
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    const TO: u64 = 100_000;
    let workers = cpu_count() as u64;
    let share = TO.div_ceil(workers);

    let processes = (0..workers)
        .map(|n| {
            let range = (n * share, TO.min((n + 1) * share));
            Process::new(primes, range)
                .name(format!("counter-{n}"))
                .start()
        })
        .collect::<Result<Vec<_>, _>>()?;
    let mut total = 0;
    for process in &processes {
        total += process.result()?;
    }
    println!("{total} primes below {TO}, found by {workers} processes");
    assert_eq!(total, 9592);
    Ok(())
}
