//! How processes are started: spawned each by itself, or forked by the fork server.

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use serde::{Deserialize, Serialize};

use super::StartError;

/// The environment variable that chooses for programs that do not choose.
const VARIABLE: &str = "ALLCORES_START_METHOD";

/// How a process is started. Function, arguments, handles, result, exit code and lifetime are the same either way, and so
/// is what the child finds: the caller's environment, working directory, umask, CPUs, limits and standard streams, an
/// empty signal mask and default dispositions, and no other descriptors.
///
/// | | `Spawn` | `ForkServer` |
/// |---|---|---|
/// | the new process | this executable, started anew | a fork of a small process that was started so once |
/// | costs | an exec: loading and linking the program | a fork of a process of a few hundred pages, whatever the size of this one |
/// | the function's thread | the process's first one, for which std has no name (`<unnamed>` where a panic is printed) | one that std calls `main` |
/// | the program's constructors (`.init_array`) run | in each child | once |
/// | its parent, for the kernel | this process | the fork server, and init when that has ended |
/// | SIGCHLD, `wait(2)`, `getppid(2)` | as usual | know nothing of it, but of the server, which is a child of this process |
/// | needs | | that no constructor of the program leaves threads behind |
///
/// Unless one is chosen ([`set_start_method`], [`NewProcess::start_method`](super::NewProcess::start_method),
/// `ALLCORES_START_METHOD=spawn` or `=forkserver` in the environment), the fork server is used where it can serve, and
/// `Spawn` where not. Choosing `ForkServer` makes it an error where it cannot.
///
/// The fork server is started by the first process that needs it, serves the process that started it and no other, ends
/// when that ends, and is started again if it was killed; its children live on then. Where starts follow one another
/// quickly it keeps one child ready for the next. A program that waits for whatever children it has (`wait(2)` until there
/// are none) would wait for the server: it is for `Spawn`.
///
/// What this process *is* (its users, groups, capabilities, session, root directory, mounts and network) is compared at
/// each start: after a change, `setuid` for one, another server takes its place. It stays in the control group and in the
/// scheduling class in which it was started, and in namespaces of the other kinds: after a change of those choose `Spawn`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum StartMethod {
    /// Each process is this executable, started anew.
    Spawn,
    /// A small process, started once, forks on request.
    ForkServer,
}

const UNSET: u8 = 0;
const SPAWN: u8 = 1;
const FORK_SERVER: u8 = 2;

static CHOSEN: AtomicU8 = AtomicU8::new(UNSET);

/// Chooses how this process, and those that it will start, start processes.
///
/// ```
/// use allcores::multiprocessing::{self as mp, Process, StartMethod};
/// mp::set_start_method(StartMethod::Spawn);
/// let p = Process::new(|n: u32| n + 1, 1).start()?;
/// assert_eq!(p.result()?, 2);
/// assert_eq!(mp::start_method(), StartMethod::Spawn);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn set_start_method(method: StartMethod) {
    let number = match method {
        StartMethod::Spawn => SPAWN,
        StartMethod::ForkServer => FORK_SERVER,
    };
    CHOSEN.store(number, Relaxed);
}

/// How a process will be started that is not told otherwise: as chosen, or with the fork server. (Where nobody has chosen
/// and the server cannot serve, it is spawned all the same.)
pub fn start_method() -> StartMethod {
    match chosen() {
        Ok(Some(method)) => method,
        Ok(None) | Err(_) => StartMethod::ForkServer,
    }
}

/// What the program has chosen: its children are told.
pub(crate) fn chosen_here() -> Option<StartMethod> {
    match CHOSEN.load(Relaxed) {
        SPAWN => Some(StartMethod::Spawn),
        FORK_SERVER => Some(StartMethod::ForkServer),
        _ => None,
    }
}

/// What the program has chosen, or else the environment.
pub(crate) fn chosen() -> Result<Option<StartMethod>, StartError> {
    if let Some(method) = chosen_here() {
        return Ok(Some(method));
    }
    match std::env::var_os(VARIABLE) {
        None => Ok(None),
        Some(value) if value == "spawn" => Ok(Some(StartMethod::Spawn)),
        Some(value) if value == "forkserver" => Ok(Some(StartMethod::ForkServer)),
        Some(value) => Err(StartError::UnknownMethod {
            value: value.to_string_lossy().into_owned(),
        }),
    }
}
