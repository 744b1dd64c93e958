//! The fork server, seen from the process that it serves: started when it is needed, asked for children, replaced when it
//! is gone or does not fit any more. What it does itself is in `zygote.rs`.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::*};
use std::time::{Duration, Instant};

use super::children::{self, Exit, Newborn};
use super::error::ForkServerError;
use super::status::Teller;
use super::wire::{self, Hello, Inherited, Reply, Request, Role, Serve, Strings, Unpacked};
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
    last: None,
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
    /// When a process was last started.
    last: Option<Instant>,
}

struct Server {
    requests: OwnedFd,
    process: Arc<OwnedFd>,
    standing: Standing,
    environment: Vec<u8>,
    umask: UmaskTeller,
    kernel_tells: bool,
    /// Whether a child was asked for whose reply has not been read.
    asked: bool,
}

/// Starts that follow one another as quickly as this have the next child made while this one runs.
const QUICK: Duration = Duration::from_millis(20);
/// How long a server that has closed its socket, or has lost it, may take to end.
const GRACE: Duration = Duration::from_secs(1);

/// An environment of more bytes goes through a file.
const LONG: usize = 16 * 1024;

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

/// Why there is no process.
pub(super) enum NotStarted {
    /// The server cannot make one.
    Server(ForkServerError),
    /// It was there, and could not be told what to do.
    Delivery(io::Error),
}

impl NotStarted {
    pub(super) fn is_delivery(&self) -> bool {
        matches!(self, NotStarted::Delivery(_))
    }
}

/// Has the server fork a child, and has `deliver` tell it what to do, and what its parent has round it.
pub(super) fn start(
    deliver: impl Fn(&Newborn, Option<(Inherited, &[BorrowedFd<'_>])>) -> io::Result<()>,
) -> Result<Newborn, NotStarted> {
    let mut servers = SERVERS.lock();
    servers.belong_here();
    servers.sweep();
    let mut tried_again = false;
    let newborn = loop {
        match servers.fork() {
            Ok(newborn) => break newborn,
            Err(Trouble::Error(error)) => return Err(NotStarted::Server(error)),
            Err(Trouble::Gone) if tried_again => {
                servers.retire(true);
                return Err(NotStarted::Server(ForkServerError::Lost));
            }
            // A child that it has made for us, if any, waits for orders that never come: its socket is at its end. So
            // nothing is done twice.
            Err(Trouble::Gone) => {
                servers.retire(true);
                tried_again = true;
            }
        }
    };
    servers.tell(&newborn, deliver)?;
    servers.prepare_next();
    Ok(newborn)
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

    /// A child that waits for its orders: one that was asked for before, if it lives still and is what it should be.
    fn fork(&mut self) -> Result<Newborn, Trouble> {
        if let Some(more) = self.cannot {
            let by_preload = false;
            return Err(Trouble::Error(ForkServerError::Threads {
                more,
                by_preload,
            }));
        }
        let standing = Standing::of_this_thread()?;
        let revision = REVISION.load(Acquire);
        let fits = |server: &Server| server.standing == standing && self.revision == revision;
        if self.running.as_ref().is_some_and(|server| !fits(server)) {
            self.retire(false);
        }
        let server = match &mut self.running {
            Some(server) => server,
            none => {
                let started = Server::start(standing);
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
        if server.asked {
            let newborn = server.answer()?;
            if !fds::wait_readable(&newborn.pidfd, Deadline::NOW)? {
                return Ok(newborn);
            }
            // Somebody has killed it while it waited.
        }
        server.ask()?;
        server.answer()
    }

    /// Tells a child what to do.
    fn tell(
        &self,
        newborn: &Newborn,
        deliver: impl Fn(&Newborn, Option<(Inherited, &[BorrowedFd<'_>])>) -> io::Result<()>,
    ) -> Result<(), NotStarted> {
        let server = self.running.as_ref().expect("it has made the child");
        let told = server
            .inherited()
            .and_then(|(inherited, with)| deliver(newborn, Some((inherited, &with.descriptors()))));
        // Without orders it finds its socket at its end, and exits.
        told.map_err(NotStarted::Delivery)
    }

    /// Where starts follow one another quickly, the next child is made while this one runs.
    fn prepare_next(&mut self) {
        let now = Instant::now();
        let before = self.last.replace(now);
        if before.is_some_and(|before| now.duration_since(before) < QUICK)
            && let Some(server) = &mut self.running
        {
            // If it is gone, the next start finds out.
            let _ = server.ask();
        }
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
    fn start(standing: Standing) -> Result<Server, Trouble> {
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
        let environment = environment();

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
            asked: false,
        };
        let hello = match wire::send_whole(server.requests.as_fd(), &serve, &descriptors) {
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
        let mut buffer = vec![0; wire::MOST_PACKET];
        match wire::receive_whole(requests, &mut buffer, ours) {
            Ok(Some(message)) => Ok(message),
            Ok(None) => Err(Trouble::Gone),
            Err(error) => Err(gone_or(error)),
        }
    }

    fn ask(&mut self) -> Result<(), Trouble> {
        wire::send_whole(self.requests.as_fd(), Request, &[]).map_err(gone_or)?;
        self.asked = true;
        Ok(())
    }

    /// The child that was asked for.
    fn answer(&mut self) -> Result<Newborn, Trouble> {
        self.asked = false;
        let told = 2 + usize::from(!self.kernel_tells);
        let Unpacked { what, ours, .. } =
            self.hear::<Reply>(|reply| if reply.is_ok() { told } else { 0 })?;
        let pid = what.map_err(io::Error::from_raw_os_error)?;
        let mut ours = ours.into_iter();
        let (Some(pidfd), Some(control)) = (ours.next(), ours.next()) else {
            return Err(io::Error::from_raw_os_error(libc::EMFILE).into());
        };
        let server = self.process.clone();
        let teller = match (self.kernel_tells, ours.next()) {
            (true, _) => Teller::Kernel(server),
            (false, Some(pipe)) => Teller::Server { pipe, server },
            (false, None) => return Err(io::Error::from_raw_os_error(libc::EMFILE).into()),
        };
        Ok(Newborn {
            pid,
            pidfd,
            control,
            teller,
        })
    }

    /// What a child of this thread would inherit, and the descriptors that go with it.
    fn inherited(&self) -> io::Result<(Inherited, With)> {
        let streams = [0, 1, 2].map(surroundings::hands_down);
        let mut with = With {
            directory: surroundings::working_directory()?,
            streams: streams.into_iter().flatten().collect(),
            environment: None,
        };
        let environment = environment();
        let environment = match environment.len() {
            _ if environment == self.environment => Strings::Same,
            ..=LONG => Strings::Here(environment),
            length => {
                with.environment = Some(fds::file_holding(&environment)?);
                Strings::InFile(length as u64)
            }
        };
        let inherited = Inherited {
            surroundings: Surroundings::of_this_thread(&self.umask)?,
            streams: streams.map(|stream| stream.is_some()),
            environment,
        };
        Ok((inherited, with))
    }
}

/// The descriptors that go with an [`Inherited`].
struct With {
    directory: OwnedFd,
    streams: Vec<BorrowedFd<'static>>,
    environment: Option<OwnedFd>,
}

impl With {
    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let mut all = vec![self.directory.as_fd()];
        all.extend(&self.streams);
        all.extend(self.environment.as_ref().map(AsFd::as_fd));
        all
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
