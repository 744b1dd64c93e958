//! The fork server, seen from the process that it serves: started when it is needed, asked for children, replaced when it
//! is gone or does not fit any more. What it does itself is in `zygote.rs`.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::*};
use std::time::Duration;

use super::children::{self, Exit, Newborn};
use super::error::ForkServerError;
use super::status::Teller;
use super::wire::{self, Hello, Parcel, Reply, Request, Role, Serve, Unpacked};
use super::{NotInExecutable, start};
use crate::registry;
use crate::sys::clock::Deadline;
use crate::sys::local::Local;
use crate::sys::pidfd::{self, Collected, Ending};
use crate::sys::standing::Standing;
use crate::sys::surroundings::{self, Surroundings, UmaskTeller};
use crate::sys::{exec, fds, fork, image};

/// The servers of this process. Under one lock from a request to its reply: the server does one thing at a time anyway.
static SERVERS: Local<Servers> = Local::new(Servers {
    generation: 0,
    running: None,
    retired: Vec::new(),
    cannot: None,
    revision: 0,
});

#[derive(Default)]
struct Servers {
    generation: u32,
    running: Option<Server>,
    /// Told to end, and not collected yet.
    retired: Vec<Arc<OwnedFd>>,
    /// Why there will never be one in this program: it has threads before anything has begun.
    cannot: Option<u32>,
    /// Which choice of a preload function the running one knows.
    revision: usize,
}

struct Server {
    requests: OwnedFd,
    process: Arc<OwnedFd>,
    standing: Standing,
    environment: Vec<u8>,
    umask: UmaskTeller,
    kernel_tells: bool,
}

/// How long a server that has closed its socket, or has lost it, may take to end.
const GRACE: Duration = Duration::from_secs(1);

/// Where in the executable the preload function is; 0 while there is none.
static PRELOAD: AtomicUsize = AtomicUsize::new(0);
/// Counts the choices of a preload function.
static REVISION: AtomicUsize = AtomicUsize::new(0);

/// Has the fork server run `function` once, before it forks for the first time: what that loads, computes and leaves in
/// statics is there in every child from the start, shared with the others until somebody writes to it.
///
/// It takes effect with the next process that is started with the fork server: a server that runs already is replaced by a
/// new one. That start waits until the function has returned. The function finds the environment, the working directory
/// and the standard streams of the process at that moment, and all signals blocked. Files that it leaves open are open in
/// every child. Signal handlers that it installs are not kept.
///
/// It must not
/// - leave threads behind, for in a forked process they would be missing, with whatever they had locked:
///   [`ForkServerError::Threads`];
/// - panic: [`ForkServerError::PreloadPanicked`]; or end the process: [`ForkServerError::Ended`];
/// - start processes: that is [`StartError::InPreload`](super::StartError::InPreload) there.
///
/// The start that needs the server then fails with that error, with each attempt anew, and does not fall back to `Spawn`.
///
/// The choice is this process's own: its children start their own servers without.
///
/// # Errors
/// The function does not lie in the program's executable.
///
/// ```
/// use allcores::multiprocessing::{self as mp, Process, StartMethod};
/// use std::sync::OnceLock;
///
/// static PRIMES: OnceLock<Vec<u32>> = OnceLock::new();
///
/// mp::set_forkserver_preload(|| {
///     let primes = (2..1000u32).filter(|n| (2..*n).all(|d| n % d != 0)).collect();
///     PRIMES.set(primes).expect("nobody else computes them");
/// })?;
/// let p = Process::new(|()| PRIMES.get().map(Vec::len), ());
/// let p = p.start_method(StartMethod::ForkServer).start()?;
/// assert_eq!(p.result()?, Some(168));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn set_forkserver_preload(function: fn()) -> Result<(), NotInExecutable> {
    let offset = image::main_executable().and_then(|main| main.offset_of_code(function as usize));
    let offset = offset.ok_or(NotInExecutable)?;
    PRELOAD.store(offset as usize, Relaxed);
    REVISION.fetch_add(1, Release);
    Ok(())
}

/// Whether there is something that children expect to have been done.
pub(super) fn has_preload() -> bool {
    PRELOAD.load(Relaxed) != 0
}

/// Why a server gave no child.
enum Trouble {
    /// It has come to an end, by a signal or in the middle of what was asked.
    Gone,
    Error(ForkServerError),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Trouble {
        Trouble::Error(error.into())
    }
}

/// Has the server fork a child that waits for its orders, and packs these meanwhile: they tell what the child is to have
/// round it.
pub(super) fn fork<'a>(
    pack: impl Fn(Option<Surroundings>) -> io::Result<Parcel<'a>>,
) -> Result<(Newborn, Parcel<'a>), ForkServerError> {
    let mut servers = SERVERS.lock();
    servers.belong_here();
    servers.sweep();
    let mut tried_again = false;
    loop {
        match servers.fork(&pack) {
            Ok(both) => return Ok(both),
            Err(Trouble::Error(error)) => return Err(error),
            // A child that it has made for us, if any, waits for orders that never come: its socket is at its end. So
            // nothing is done twice.
            Err(Trouble::Gone) if tried_again => return Err(ForkServerError::Lost),
            Err(Trouble::Gone) => {
                servers.retire(true);
                tried_again = true;
            }
        }
    }
}

/// Collects servers that have ended.
pub(super) fn sweep() {
    // Somebody who is in there sweeps as well.
    if let Some(mut servers) = SERVERS.try_lock() {
        servers.belong_here();
        servers.sweep();
    }
}

impl Servers {
    /// A forked process has none: those that it knows of are its parent's.
    fn belong_here(&mut self) {
        let generation = fork::generation();
        if self.generation != generation {
            *self = Servers {
                generation,
                ..Servers::default()
            };
        }
    }

    fn sweep(&mut self) {
        let ended = |process: &OwnedFd| {
            !matches!(
                pidfd::collect(process.as_fd(), false),
                Ok(Collected::Running)
            )
        };
        self.retired.retain(|process| !ended(process));
        if self
            .running
            .as_ref()
            .is_some_and(|server| ended(&server.process))
        {
            self.running = None;
        }
    }

    /// Ends the running one. If it has yet to tell how its children end, and is not `gone` already, it does so by itself
    /// after them: it sees that nobody will ask it any more.
    fn retire(&mut self, gone: bool) {
        let Some(Server {
            requests,
            process,
            kernel_tells,
            ..
        }) = self.running.take()
        else {
            return;
        };
        drop(requests);
        if gone || kernel_tells {
            // Not allowed if we have changed our user; it ends all the same.
            let _ = pidfd::signal(process.as_fd(), rustix::process::Signal::KILL);
            let _ = fds::wait_readable(&process, Deadline::after(GRACE));
        }
        self.retired.push(process);
        self.sweep();
    }

    fn fork<'a>(
        &mut self,
        pack: impl Fn(Option<Surroundings>) -> io::Result<Parcel<'a>>,
    ) -> Result<(Newborn, Parcel<'a>), Trouble> {
        if let Some(more) = self.cannot {
            let by_preload = false;
            return Err(Trouble::Error(ForkServerError::Threads {
                more,
                by_preload,
            }));
        }
        let (control, theirs) = fds::socket_pair()?;
        let standing = Standing::of_this_thread(control.as_fd())?;
        let revision = REVISION.load(Acquire);
        let fits = |server: &Server| server.standing == standing && self.revision == revision;
        if self.running.as_ref().is_some_and(|server| !fits(server)) {
            self.retire(false);
        }
        let environment = environment();
        let server = match &mut self.running {
            Some(server) => server,
            none => {
                let started = Server::start(standing, environment.clone());
                if let Err(Trouble::Error(ForkServerError::Threads {
                    more,
                    by_preload: false,
                })) = started
                {
                    self.cannot = Some(more);
                }
                self.revision = revision;
                none.insert(started?)
            }
        };
        server.fork(control, theirs, environment, pack)
    }
}

/// This process's environment, with a NUL behind each entry.
fn environment() -> Vec<u8> {
    let mut block = Vec::with_capacity(4096);
    for (name, value) in std::env::vars_os() {
        let parts: [&OsStr; 4] = [&name, "=".as_ref(), &value, "\0".as_ref()];
        for part in parts {
            block.extend_from_slice(part.as_bytes());
        }
    }
    block
}

impl Server {
    fn start(standing: Standing, environment: Vec<u8>) -> Result<Server, Trouble> {
        if image::is_privileged() {
            let reason = "this program runs with more rights than the user who started it, and believes nobody who tells it what to do".into();
            return Err(Trouble::Error(ForkServerError::Unfit { reason }));
        }
        let (requests, theirs) = fds::packet_pair()?;
        let image =
            image::main_executable().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let preload = PRELOAD.load(Relaxed);
        let arena = registry::descriptor_for_child();
        let serve = Serve {
            version: wire::VERSION,
            fingerprint: image.fingerprint().to_vec(),
            preload: (preload != 0).then_some(preload as u64),
            has_arena: arena.is_some(),
        };
        let mut descriptors = vec![children::my_pidfd()?];
        descriptors.extend(arena.as_ref().map(AsFd::as_fd));
        let umask = UmaskTeller::new()?;

        let theirs = start::above_standard_streams(theirs)?;
        let marker = start::marker_for(Role::Zygote, &theirs)?;
        let pid = exec::spawn_self(
            &start::arguments_of_this_process(),
            &start::environment(&marker),
            &[theirs.as_fd()],
        )?;
        drop(theirs);
        // It waits for its orders, so that it is there still, and the number its own.
        let process = match pidfd::open(pid) {
            Ok(process) => Arc::new(process),
            Err(error) => {
                start::give_up(pid);
                return Err(error.into());
            }
        };
        let mut server = Server {
            requests,
            process,
            standing,
            environment,
            umask,
            kernel_tells: false,
        };
        let hello = match wire::send_whole(server.requests.as_fd(), &serve, &[], &descriptors) {
            Ok(()) => server.hear::<Hello>(|_| 0),
            Err(error) => Err(gone_or(error)),
        };
        let hello = match hello {
            Ok(message) => message.what,
            Err(trouble) => return Err(server.end(trouble)),
        };
        let error = match hello {
            Hello::Ready { kernel_tells } => {
                server.kernel_tells = kernel_tells;
                return Ok(server);
            }
            Hello::Threads { more, by_preload } => ForkServerError::Threads { more, by_preload },
            Hello::PreloadPanicked { message, location } => {
                ForkServerError::PreloadPanicked { message, location }
            }
            Hello::Unfit { reason } => ForkServerError::Unfit { reason },
        };
        Err(server.end(Trouble::Error(error)))
    }

    /// Ends a server that has not come to serve, and collects it. One that has exited by itself has a reason of its own.
    fn end(self, trouble: Trouble) -> Trouble {
        let process = self.process.as_fd();
        drop(self.requests);
        // At the end of its socket it is about to end, and its code tells why.
        let ends = matches!(trouble, Trouble::Gone)
            && fds::wait_readable(process, Deadline::after(GRACE)).unwrap_or(false);
        if !ends {
            let _ = pidfd::signal(process, rustix::process::Signal::KILL);
        }
        match (trouble, pidfd::collect(process, true)) {
            (Trouble::Gone, Ok(Collected::Ended(Ending::Code(code)))) => {
                Trouble::Error(ForkServerError::Ended {
                    exit: Exit::Code(code),
                })
            }
            (trouble, _) => trouble,
        }
    }

    /// Its next message. Its children hold its end of the socket for a moment, so its own end is looked for as well.
    fn hear<T: for<'de> serde::Deserialize<'de>>(
        &self,
        ours: impl FnOnce(&T) -> usize,
    ) -> Result<Unpacked<T>, Trouble> {
        let (requests, process) = (self.requests.as_fd(), self.process.as_fd());
        if fds::wait_either(requests, process, Deadline::NEVER)? != Some(fds::First::One) {
            return Err(Trouble::Gone);
        }
        let mut buffer = vec![0; 4096];
        match wire::receive_whole(requests, &mut buffer, ours) {
            Ok(Some(message)) => Ok(message),
            Ok(None) => Err(Trouble::Gone),
            Err(error) => Err(gone_or(error)),
        }
    }

    fn fork<'a>(
        &self,
        control: OwnedFd,
        theirs: OwnedFd,
        environment: Vec<u8>,
        pack: impl Fn(Option<Surroundings>) -> io::Result<Parcel<'a>>,
    ) -> Result<(Newborn, Parcel<'a>), Trouble> {
        let streams = [0, 1, 2].map(surroundings::hands_down);
        let status = match self.kernel_tells {
            true => None,
            false => Some(fds::pipe_without_waiting()?),
        };
        let (pipe, write) = status.unzip();
        let changed = (environment != self.environment).then_some(&environment[..]);
        let request = Request {
            streams: streams.map(|stream| stream.is_some()),
            has_environment: changed.is_some(),
            has_status: write.is_some(),
        };
        let directory = surroundings::working_directory()?;
        let mut ours = vec![theirs.as_fd(), directory.as_fd()];
        ours.extend(streams.into_iter().flatten());
        ours.extend(write.as_ref().map(AsFd::as_fd));
        let body = changed.unwrap_or_default();
        wire::send_whole(self.requests.as_fd(), &request, body, &ours).map_err(gone_or)?;
        // Ours alone must not keep the pipe or the socket open.
        drop((theirs, write));
        // While the server forks.
        let parcel = Surroundings::of_this_thread(&self.umask).and_then(|mine| pack(Some(mine)));
        let Unpacked { what, ours, .. } = self.hear::<Reply>(|reply| usize::from(reply.is_ok()))?;
        let pid = what.map_err(io::Error::from_raw_os_error)?;
        let pidfd = ours.into_iter().next().ok_or_else(|| {
            io::Error::other("the child's descriptor was lost: too many open files?")
        })?;
        let server = self.process.clone();
        let teller = match pipe {
            None => Teller::Kernel(server),
            Some(pipe) => Teller::Server { pipe, server },
        };
        let newborn = Newborn {
            pid,
            pidfd,
            control,
            teller,
        };
        Ok((newborn, parcel?))
    }
}

fn gone_or(error: io::Error) -> Trouble {
    match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Trouble::Gone,
        _ => Trouble::Error(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_is_a_block_of_entries() {
        let block = environment();
        let entries: Vec<_> = block.split_inclusive(|byte| *byte == 0).collect();
        assert_eq!(entries.len(), std::env::vars_os().count());
        assert!(
            entries
                .iter()
                .all(|entry| entry.ends_with(&[0]) && entry.contains(&b'='))
        );
    }
}
