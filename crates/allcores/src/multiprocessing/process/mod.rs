//! Processes; see `README.md` beside this file.

mod active;
mod child;
mod children;
mod current;
mod daemon;
mod entry;
mod error;
mod forkserver;
mod handle;
mod method;
mod reaper;
mod server;
mod start;
mod status;
mod wire;
mod zygote;

pub use active::{ActiveChild, active_children, join_all};
pub use children::Exit;
pub use current::{CurrentProcess, ParentProcess, current_process, parent_process};
pub use entry::init;
pub use error::{ForkServerError, NotInExecutable, ProcessError, StartError};
pub use forkserver::set_forkserver_preload;
pub use handle::{Process, StillRunning};
pub use method::{StartMethod, set_start_method, start_method};
pub use start::NewProcess;
pub use wire::Location;
