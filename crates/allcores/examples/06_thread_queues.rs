//! Threads that hand work on through queues: which words are at home in the most files? In the sources of this library, or
//! in the files that you name.
//!
//! ```text
//! cargo run --release -p allcores --example 06_thread_queues [FILE...]
//! ```

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::path::{Path, PathBuf};

use allcores::threading::{PriorityQueue, Queue, SimpleQueue, scope};

const READERS: usize = 3;

/// The different words of a text, longer than five letters.
fn words(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !c.is_alphabetic())
        .filter(|word| word.len() > 5)
        .map(str::to_lowercase)
        .collect()
}

/// Puts every source file below a folder.
fn find(folder: &Path, files: &Queue<PathBuf>) -> Result<(), Box<dyn Error>> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            find(&path, files)?;
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.put(path)?; // waits if the readers do not keep up
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let named: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    // Room for a few: whoever finds files never runs far ahead of those who read them.
    let files: Queue<PathBuf> = Queue::bounded(8);
    let found = Queue::new();
    let complaints = SimpleQueue::new();

    let (at_home, read) = scope(|s| {
        for _ in 0..READERS {
            s.spawn(|| {
                // Until the queue is shut down and empty.
                for file in &files {
                    match std::fs::read_to_string(&file) {
                        Ok(text) => found.put(words(&text)).expect("open until all is counted"),
                        Err(error) => complaints.put(format!("{}: {error}", file.display())),
                    }
                    files.task_done().expect("one for each file");
                }
            });
        }
        let counter = s.spawn(|| {
            let mut at_home = BTreeMap::new();
            let mut read = 0;
            for words in &found {
                read += 1;
                for word in words {
                    *at_home.entry(word).or_insert(0) += 1;
                }
            }
            (at_home, read)
        });

        let put = if named.is_empty() {
            find(
                Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")),
                &files,
            )
        } else {
            named.into_iter().try_for_each(|file| Ok(files.put(file)?))
        };
        files.join(); // every file that was put has been read
        files.shutdown(false); // the readers' loops end
        found.shutdown(false); // and the counter's, when it has got what is left
        put?;
        Ok::<_, Box<dyn Error>>(counter.result()?)
    })??;

    while let Some(complaint) = complaints.try_get() {
        eprintln!("{complaint}");
    }
    println!(
        "{read} files, {} different words of six letters or more",
        at_home.len()
    );
    let order: PriorityQueue<_> = at_home
        .into_iter()
        .map(|(word, files)| (Reverse(files), word))
        .collect();
    for _ in 0..10 {
        if let Ok((Reverse(files), word)) = order.try_get() {
            println!("{files:>5}  {word}");
        }
    }
    Ok(())
}
