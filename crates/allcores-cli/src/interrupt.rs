//! Ctrl-C: a clear last line and a clean terminal, whatever the other threads are waiting for.

use crate::view::progress;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

/// Starts the thread that ends the program when SIGINT or SIGTERM comes.
///
/// # Errors
/// If the handlers cannot be installed or the thread cannot be started.
pub(crate) fn watch() -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            if let Some(signal) = signals.forever().next() {
                end(signal);
            }
        })?;
    Ok(())
}

/// Lets Ctrl-C pass, for worker processes: it reaches all processes of a terminal, and theirs is to end with their parent.
///
/// # Errors
/// If the handler cannot be installed.
pub(crate) fn ignore() -> io::Result<()> {
    // A handler that sets a flag that nobody reads.
    signal_hook::flag::register(SIGINT, Arc::default()).map(drop)
}

/// Ends the program as interrupted, with one message even if several threads come to know of it.
pub(crate) fn end(signal: i32) -> ! {
    static ENDING: Mutex<()> = Mutex::new(());
    let _only_one = ENDING.lock().unwrap_or_else(PoisonError::into_inner);
    progress::clear();
    let what = match signal {
        SIGINT => "interrupted",
        _ => "terminated",
    };
    eprintln!("allcores: {what}; the totals are not complete, so there are none");
    // The shells' convention. Child processes are daemons: they end with us.
    std::process::exit(128 + signal)
}
