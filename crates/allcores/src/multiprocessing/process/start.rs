//! The parent's side of a start.

use std::ffi::{CString, OsString};
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStringExt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::child::{Trampoline, trampoline};
use super::children::{self, Child};
use super::wire::{self, Boot, Parcel};
use super::{Process, StartError, current, entry};
use crate::multiprocessing::connection::{SendError, stream};
use crate::registry;
use crate::sys::{exec, fds, image, pidfd};

/// A process that has not been started: what [`Process::new`] makes. It can be started once.
#[must_use = "a process does nothing until it is started"]
pub struct NewProcess<F, A, R> {
    arguments: A,
    name: Option<String>,
    daemon: bool,
    calls: PhantomData<fn(F) -> R>,
}

impl<F, A, R> NewProcess<F, A, R>
where
    F: Fn(A) -> R + Copy + Send + 'static,
    A: Serialize + DeserializeOwned,
    R: Serialize + DeserializeOwned,
{
    pub(crate) fn new(arguments: A) -> NewProcess<F, A, R> {
        NewProcess {
            arguments,
            name: None,
            daemon: current::me().daemon,
            calls: PhantomData,
        }
    }

    /// Its name, for people. Otherwise it is `Process-1`, `Process-2` …, and `Process-2:1` for the first child of the
    /// second.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Whether it ends with the process that starts it, however that ends, a SIGKILL included: it is killed then. It may
    /// have children of its own. Unless set, it is what the current process is.
    pub fn daemon(mut self, daemon: bool) -> Self {
        self.daemon = daemon;
        self
    }

    /// Starts it: a new process runs this program's executable, and in it the function. Returns without waiting for that.
    ///
    /// The child has the environment, working directory and standard streams of this process, an empty signal mask and
    /// default signal dispositions, and none of its other descriptors but those in the arguments. The arguments are
    /// serialised here and dropped, so that handles among them (the far end of a Pipe, as a rule) are closed on this side.
    ///
    /// # Errors
    /// See [`StartError`]; nothing runs then. A child that comes to nothing later is reported by [`Process::join`].
    pub fn start(self) -> Result<Process<R>, StartError> {
        let run: Trampoline = trampoline::<F, A, R>;
        let child = launch(run as usize, &self.arguments, self.name, self.daemon)?;
        Ok(Process::of(child))
    }
}

fn launch<A: Serialize>(
    code: usize,
    arguments: &A,
    name: Option<String>,
    daemon: bool,
) -> Result<std::sync::Arc<Child>, StartError> {
    if entry::is_still_a_child() {
        return Err(StartError::StillAChild);
    }
    let executable = image::main_executable().ok_or(StartError::NotInExecutable)?;
    let offset = executable
        .offset_of_code(code)
        .ok_or(StartError::NotInExecutable)?;
    if !entry::has_passed() {
        return Err(StartError::NoWayIn);
    }
    children::sweep();

    let (body, mut outgoing) =
        stream::encode(arguments, wire::outgoing()).map_err(|error| match error {
            SendError::Encode { of, reason } => StartError::Encode { of, reason },
            SendError::Transfer(error) => StartError::Transfer(error),
            other => StartError::Io(io::Error::other(other)),
        })?;
    let parcels = outgoing.take_parcels();
    let me = current::me();
    let mut identity = me.identity.clone();
    identity.push(children::next_number());
    let name = name.unwrap_or_else(|| default_name(&identity));
    let mut ours = vec![pidfd::open_self()?];
    let arena = registry::descriptor_for_child();
    let boot = Boot {
        version: wire::VERSION,
        fingerprint: executable.fingerprint(),
        offset,
        name: name.clone(),
        identity,
        daemon,
        parent_pid: std::process::id(),
        parent_name: me.name.clone(),
        has_arena: arena.is_some(),
    };
    ours.extend(arena);
    let handles = std::mem::take(&mut outgoing.descriptors);
    let parcel = Parcel::pack(&boot, Some(&body), ours, handles)?;

    let (control, theirs) = fds::socket_pair()?;
    // Not onto a standard stream, should one of them be closed here.
    let theirs = match theirs.as_raw_fd() {
        ..=2 => fds::duplicate(theirs.as_fd(), 3)?,
        _ => theirs,
    };
    let inode = rustix::fs::fstat(&theirs).map_err(io::Error::from)?.st_ino;
    let marker = wire::marker(theirs.as_raw_fd(), inode);
    let pid = exec::spawn_self(
        &arguments_of_this_process(),
        &environment(&marker),
        &[theirs.as_fd()],
    )?;
    drop(theirs);
    // The child waits for its orders, so it is there still, even where SIGCHLD is ignored: the descriptor is its own.
    let begun = pidfd::open(pid).and_then(|pidfd| match parcel.send(control.as_fd()) {
        // It has died already. Joining will tell how.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(pidfd),
        sent => sent.map(|()| pidfd),
    });
    let pidfd = match begun {
        Ok(pidfd) => pidfd,
        Err(error) => {
            give_up(pid);
            return Err(match error.kind() {
                io::ErrorKind::WouldBlock => StartError::NameTooLong { length: name.len() },
                _ => error.into(),
            });
        }
    };
    Ok(Child::new(pid, pidfd, name, daemon, control, parcels))
}

/// Ends a child that cannot be told what to do.
fn give_up(pid: u32) {
    let Some(pid) = i32::try_from(pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw)
    else {
        return;
    };
    // Our own child, whose status we have not collected: the number is its own.
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    let _ = rustix::io::retry_on_intr(|| {
        rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty())
    });
}

fn default_name(identity: &[u32]) -> String {
    let numbers: Vec<_> = identity.iter().map(u32::to_string).collect();
    format!("Process-{}", numbers.join(":"))
}

/// The child sees the same arguments, as `ps` does.
fn arguments_of_this_process() -> Vec<CString> {
    std::env::args_os()
        .filter_map(|argument| CString::new(argument.into_vec()).ok())
        .collect()
}

fn environment(marker: &str) -> Vec<CString> {
    let entries = std::env::vars_os().map(|(name, value)| {
        let mut entry = name;
        entry.push("=");
        entry.push(value);
        entry
    });
    let marker = OsString::from(format!("{}={marker}", wire::MARKER));
    // Neither names nor values hold a NUL: they came from such strings.
    entries
        .chain([marker])
        .filter_map(|entry| CString::new(entry.into_vec()).ok())
        .collect()
}
