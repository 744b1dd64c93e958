//! A daemon ends with its parent, however that ends.

use std::io;
use std::os::fd::OwnedFd;

use crate::sys::clock::Deadline;
use crate::sys::{fds, signals};

/// Starts the thread that watches the parent. Its descriptor came from the parent itself, so a parent that ended before
/// this is seen as well. (`PR_SET_PDEATHSIG` misses that one, and mistakes the end of the *thread* that started us for it.)
pub(crate) fn watch(parent: &OwnedFd) -> io::Result<()> {
    let parent = parent.try_clone()?;
    std::thread::Builder::new()
        .name("allcores-daemon".into())
        .stack_size(64 * 1024)
        .spawn(move || {
            signals::block_all();
            if let Ok(true) = fds::wait_readable(&parent, Deadline::NEVER) {
                end_this_process();
            }
        })?;
    Ok(())
}

/// By SIGKILL: nothing that the program holds or handles can put it off.
fn end_this_process() {
    let myself = rustix::process::getpid();
    // Allowed always, for oneself.
    let _ = rustix::process::kill_process(myself, rustix::process::Signal::KILL);
}
