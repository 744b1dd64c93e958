//! Progress on stderr: a bar on a terminal, a line elsewhere.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The bar that is on the screen, for whoever ends the program.
static SHOWN: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Takes the bar off the screen.
pub(crate) fn clear() {
    if let Some(bar) = SHOWN.lock().unwrap_or_else(PoisonError::into_inner).take() {
        bar.finish_and_clear();
    }
}

/// How far a way has come.
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Shows that `label` is under way, with `bytes` to count if that is known.
    pub(crate) fn start(label: &'static str, bytes: Option<u64>) -> Progress {
        let mut stderr = std::io::stderr();
        if !stderr.is_terminal() {
            // Without a terminal the bar draws nothing. Whoever reads this is told what takes so long.
            let _ = writeln!(stderr, "allcores: counting: {label}");
        }
        let (bar, template) = match bytes {
            Some(bytes) => (
                ProgressBar::new(bytes),
                "{prefix:10} [{bar:40}] {bytes} of {total_bytes}, {bytes_per_sec}",
            ),
            None => (
                ProgressBar::new_spinner(),
                "{prefix:10} {spinner} {bytes}, {bytes_per_sec}",
            ),
        };
        let style = ProgressStyle::with_template(template).expect("the template is well-formed");
        bar.set_style(style);
        bar.set_prefix(label);
        bar.enable_steady_tick(Duration::from_millis(100));
        *SHOWN.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar.clone());
        Progress { bar }
    }

    /// So many bytes more have been counted.
    pub(crate) fn add(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    /// So many bytes have been counted.
    pub(crate) fn set(&self, bytes: u64) {
        self.bar.set_position(bytes);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        clear();
    }
}
