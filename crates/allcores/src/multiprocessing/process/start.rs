//! The parent's side of a start.

use std::ffi::{CString, OsString};
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::child::{Trampoline, trampoline};
use super::children::{self, Child, Newborn};
use super::forkserver::NotStarted;
use super::status::Teller;
use super::wire::{self, Boot, Inherited, Parcel, Role};
use super::{Process, StartError, StartMethod, current, entry, forkserver, method, zygote};
use crate::multiprocessing::connection::{SendError, stream};
use crate::registry;
use crate::sys::{exec, fds, image, pidfd};

/// A process that has not been started: what [`Process::new`] makes. It can be started once.
#[must_use = "a process does nothing until it is started"]
pub struct NewProcess<F, A, R> {
    arguments: A,
    name: Option<String>,
    daemon: bool,
    method: Option<StartMethod>,
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
            method: None,
            calls: PhantomData,
        }
    }

    /// Its name, for people. Otherwise it is `Process-1`, `Process-2` …, and `Process-2:1` for the first child of the
    /// second. At most 16 KiB of UTF-8: more is an error of [`start`](NewProcess::start).
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

    /// How it is started; as [`set_start_method`](crate::multiprocessing::set_start_method) says, unless set.
    pub fn start_method(mut self, method: StartMethod) -> Self {
        self.method = Some(method);
        self
    }

    /// Starts it: a new process runs this program's executable, and in it the function. Returns without waiting for that;
    /// with the fork server, it waits for the server's word that the process is there, and at the first time for the
    /// server's own start.
    ///
    /// The child has the environment, working directory and standard streams of this process, an empty signal mask and
    /// default signal dispositions, and none of its other descriptors but those in the arguments. The arguments are
    /// serialised here and dropped, so that handles among them (the far end of a Pipe, as a rule) are closed on this side.
    ///
    /// # Errors
    /// See [`StartError`]; nothing runs then. A child that comes to nothing later is reported by [`Process::join`].
    pub fn start(self) -> Result<Process<R>, StartError> {
        let run: Trampoline = trampoline::<F, A, R>;
        let child = launch(
            run as usize,
            &self.arguments,
            self.name,
            self.daemon,
            self.method,
        )?;
        Ok(Process::of(child))
    }
}

fn launch<A: Serialize>(
    code: usize,
    arguments: &A,
    name: Option<String>,
    daemon: bool,
    chosen: Option<StartMethod>,
) -> Result<std::sync::Arc<Child>, StartError> {
    if zygote::is_zygote() {
        return Err(StartError::InPreload);
    }
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
    let method = match chosen {
        Some(method) => Some(method),
        None => method::chosen()?,
    };
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
    if name.len() > wire::LONGEST_NAME {
        return Err(StartError::NameTooLong { length: name.len() });
    }
    let handles = std::mem::take(&mut outgoing.descriptors);
    // A fork server has it from its beginning.
    let arena = || registry::descriptor_for_child();
    let myself = children::my_pidfd()?;
    let deliver = |newborn: &Newborn, inherited: Option<(Inherited, &[BorrowedFd<'_>])>| {
        let by_server = inherited.is_some();
        let arena = (!by_server).then(arena).flatten();
        let (inherited, descriptors) = inherited.unzip();
        let boot = Boot {
            version: wire::VERSION,
            fingerprint: executable.fingerprint().to_vec(),
            offset,
            name: name.clone(),
            identity: identity.clone(),
            daemon,
            parent_pid: std::process::id(),
            parent_name: me.name.clone(),
            has_arena: arena.is_some(),
            method: method::chosen_here(),
            inherited,
        };
        let mut ours = descriptors.unwrap_or_default().to_vec();
        ours.extend((!by_server).then_some(myself));
        ours.extend(arena.as_ref().map(AsFd::as_fd));
        let orders = Parcel::pack(&boot, Some(&body), ours, &handles)?;
        match orders.send(newborn.control.as_fd()) {
            // It has died already. Joining will tell how.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            sent => sent,
        }
    };
    let newborn = match method {
        Some(StartMethod::Spawn) => Err(None),
        Some(StartMethod::ForkServer) => forkserver::start(deliver).map_err(Some),
        None => forkserver::start(deliver).map_err(|error| match error {
            // What it was to find is not there; or it is there, and cannot be told.
            error if forkserver::has_preload() || error.is_delivery() => Some(error),
            _ => None,
        }),
    };
    let told = match newborn {
        Ok(newborn) => Ok(newborn),
        Err(None) => spawn(deliver),
        Err(Some(NotStarted::Server(error))) => return Err(error.into()),
        Err(Some(NotStarted::Delivery(error))) => Err(error),
    };
    let newborn = told.map_err(StartError::Io)?;
    Ok(Child::new(newborn, name, daemon, parcels))
}

/// A new process by posix_spawn, told by `deliver` what to do.
fn spawn(
    deliver: impl Fn(&Newborn, Option<(Inherited, &[BorrowedFd<'_>])>) -> io::Result<()>,
) -> io::Result<Newborn> {
    let (control, theirs) = fds::socket_pair()?;
    let theirs = above_standard_streams(theirs)?;
    let marker = marker_for(Role::Child, &theirs)?;
    let pid = exec::spawn_self(
        &arguments_of_this_process(),
        &environment(&marker),
        &[theirs.as_fd()],
    )?;
    drop(theirs);
    // It waits for its orders, so it is there still, even where SIGCHLD is ignored: the descriptor is its own.
    let told = pidfd::open(pid).and_then(|pidfd| {
        let teller = Teller::Wait;
        let newborn = Newborn {
            pid,
            pidfd,
            control,
            teller,
        };
        deliver(&newborn, None).map(|()| newborn)
    });
    if told.is_err() {
        give_up(pid);
    }
    told
}

/// Not onto a standard stream, should one of them be closed here.
pub(super) fn above_standard_streams(socket: OwnedFd) -> io::Result<OwnedFd> {
    match socket.as_raw_fd() {
        ..=2 => fds::duplicate(socket.as_fd(), 3),
        _ => Ok(socket),
    }
}

/// The marker of a child that will inherit this socket.
pub(super) fn marker_for(role: Role, socket: &OwnedFd) -> io::Result<String> {
    let inode = rustix::fs::fstat(socket)?.st_ino;
    Ok(wire::marker(role, socket.as_raw_fd(), inode))
}

/// Ends a child that cannot be told what to do.
pub(super) fn give_up(pid: u32) {
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
pub(super) fn arguments_of_this_process() -> Vec<CString> {
    std::env::args_os()
        .filter_map(|argument| CString::new(argument.into_vec()).ok())
        .collect()
}

pub(super) fn environment(marker: &str) -> Vec<CString> {
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
