//! Processes; see `README.md` beside this file.

mod active;
mod child;
mod children;
mod current;
mod daemon;
mod entry;
mod error;
mod handle;
mod reaper;
mod start;
mod wire;

pub use active::{ActiveChild, active_children, join_all};
pub use children::Exit;
pub use current::{CurrentProcess, ParentProcess, current_process, parent_process};
pub use entry::init;
pub use error::{ProcessError, StartError};
pub use handle::{Process, StillRunning};
pub use start::NewProcess;
pub use wire::Location;
