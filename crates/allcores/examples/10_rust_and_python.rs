//! A Rust program and a Python program on the same lock, queue and array, each as the one that starts the other.
//!
//! ```text
//! PYTHONPATH=python cargo run -p allcores --example 10_rust_and_python
//! ```
//!
//! Where there is no `python3` with the package `allcores`, it says so and ends well.

use std::error::Error;
use std::process::Command;

use allcores::multiprocessing::{Array, Lock, Queue, Ticket};

const ROUNDS: usize = 1000;
const SCRIPT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/examples/10_rust_and_python.py"
);

/// What both programs share.
struct Shared {
    lock: Lock<()>,
    /// A word, and when there are no more an empty one.
    words: Queue<()>,
    /// How often each byte came.
    counts: Array<u64>,
}

impl Shared {
    /// Counts what comes until the empty word, each under the lock: whoever else counts loses nothing.
    fn count_words(&self) -> Result<(), Box<dyn Error>> {
        loop {
            let word = self.words.get_bytes()?;
            if word.is_empty() {
                return Ok(());
            }
            let _held = self.lock.acquire().unwrap_or_else(|died| died.recover());
            for byte in word {
                let place = usize::from(byte);
                self.counts.set(place, self.counts.get(place)? + 1)?;
            }
        }
    }
}

/// Rust starts Python: both count what Rust puts.
fn parent(python: &str) -> Result<(), Box<dyn Error>> {
    let shared = Shared {
        lock: Lock::new(())?,
        words: Queue::new()?,
        counts: Array::new(256)?,
    };
    let mut ticket = Ticket::new();
    ticket.add("lock", &shared.lock)?;
    ticket.add("words", &shared.words)?;
    ticket.add("counts", &shared.counts)?;
    let mut command = Command::new(python);
    command.args([SCRIPT, "count"]);
    let inherited = ticket.attach(&mut command)?;
    let mut child = command.spawn()?;
    drop(inherited);
    for _ in 0..ROUNDS {
        shared.words.put_bytes(b"abba")?;
    }
    for _ in 0..2 {
        shared.words.put_bytes(b"")?;
    }
    shared.count_words()?;
    if !child.wait()?.success() {
        return Err("Python failed".into());
    }
    let counts = shared.counts.to_vec()?;
    let counted = (counts[usize::from(b'a')], counts[usize::from(b'b')]);
    assert_eq!(counted, (2 * ROUNDS as u64, 2 * ROUNDS as u64));
    println!("Rust started Python, and both counted: {counted:?}");
    Ok(())
}

/// Started by Python, which does the same.
fn child() -> Result<(), Box<dyn Error>> {
    let mut ticket = Ticket::received()?;
    let shared = Shared {
        lock: ticket.open("lock")?,
        words: ticket.open("words")?,
        counts: ticket.open("counts")?,
    };
    shared.count_words()
}

fn main() -> Result<(), Box<dyn Error>> {
    if std::env::args().nth(1).as_deref() == Some("count") {
        return child();
    }
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".into());
    let has_package = Command::new(&python)
        .args(["-c", "import allcores.multiprocessing.ticket"])
        .output()
        .is_ok_and(|output| output.status.success());
    if !has_package {
        println!(
            "{python} has no package allcores here (PYTHON and PYTHONPATH say where it is): nothing to show"
        );
        return Ok(());
    }
    parent(&python)?;
    // And the reverse: Python starts this program.
    let status = Command::new(&python)
        .arg(SCRIPT)
        .arg(std::env::current_exe()?)
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err("Python failed".into())
    }
}
