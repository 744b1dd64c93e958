//! A pipeline of processes over real text: readers put lines, counters take them, and a merger adds up. Words are counted
//! in the sources of this very library, or in the files that you name.
//!
//! ```text
//! cargo run --release -p allcores --example 09_pipeline [FILE...]
//! ```

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};

use allcores::multiprocessing::{JoinableQueue, Process, Queue};

type Counts = BTreeMap<String, u64>;

/// Reads files, and puts their lines in bundles.
fn read((files, lines): (JoinableQueue<PathBuf>, Queue<Vec<String>>)) {
    while let Ok(file) = files.get() {
        match std::fs::read_to_string(&file) {
            Ok(text) => {
                let all: Vec<String> = text.lines().map(str::to_owned).collect();
                let bundles: Vec<Vec<String>> = all.chunks(64).map(<[String]>::to_vec).collect();
                // Waits while the counters are busy: the queue has room for so many bundles.
                lines.put_many(&bundles).expect("the counters listen");
            }
            Err(error) => eprintln!("{}: {error}", file.display()),
        }
        files.task_done().expect("one for each that was got");
    }
}

/// Counts the words of what comes.
fn count((lines, results): (Queue<Vec<String>>, Queue<Counts>)) {
    let mut counts = Counts::new();
    while let Ok(bundle) = lines.get() {
        for word in bundle
            .iter()
            .flat_map(|line| line.split(|c: char| !c.is_alphabetic()))
            .filter(|word| word.len() > 3)
        {
            *counts.entry(word.to_lowercase()).or_default() += 1;
        }
    }
    results.put(&counts).expect("the merger listens");
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            sources(&path, found)?;
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut paths: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    if paths.is_empty() {
        sources(
            Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")),
            &mut paths,
        )?;
    }

    let files = JoinableQueue::new()?;
    let lines = Queue::bounded(32)?;
    let results = Queue::new()?;
    let readers: Vec<_> = (0..2)
        .map(|_| Process::new(read, (files.clone(), lines.clone())).start())
        .collect::<Result<_, _>>()?;
    let counters: Vec<_> = (0..2)
        .map(|_| Process::new(count, (lines.clone(), results.clone())).start())
        .collect::<Result<_, _>>()?;

    files.put_many(&paths)?;
    files.join()?; // every file has been read
    files.close(); // the readers' loops end
    lines.close(); // and, once all lines are taken, the counters'
    for process in readers.iter().chain(&counters) {
        process.join()?;
    }

    let mut total = Counts::new();
    for part in results.get_many(counters.len())? {
        for (word, times) in part? {
            *total.entry(word).or_default() += times;
        }
    }
    let mut order: Vec<_> = total.iter().collect();
    order.sort_by_key(|(word, times)| (std::cmp::Reverse(**times), *word));
    println!("{} files, {} different words", paths.len(), total.len());
    for (word, times) in order.into_iter().take(10) {
        println!("{times:>7}  {word}");
    }
    Ok(())
}
