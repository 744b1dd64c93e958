//! The fork server, seen from the process that it serves: which one serves, whether it fits still, and when it is replaced.
//! `server.rs` is how one is started and asked; what it does itself is in `zygote.rs`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::*};
use std::time::{Duration, Instant};

use super::NotInExecutable;
use super::children::Newborn;
use super::error::ForkServerError;
use super::server::{GRACE, Server, Trouble, With};
use super::wire::Inherited;
use crate::sys::clock::Deadline;
use crate::sys::local::Local;
use crate::sys::pidfd::{self, Collected};
use crate::sys::standing::Standing;
use crate::sys::surroundings::{Surroundings, UmaskTeller};
use crate::sys::{fds, fork, image};

/// The servers of this process. Under one lock from a request to its reply: the server does one thing at a time anyway.
static SERVERS: Local<Servers> = Local::new(Servers {
    generation: 0,
    running: None,
    retired: Vec::new(),
    cannot: None,
    revision: 0,
    last: None,
    quick: 0,
    umask: None,
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
    /// How many starts have followed the one before quickly, without one in between that did not.
    quick: usize,
    umask: Option<UmaskTeller>,
}

/// Starts that follow one another as quickly as this have the next children made while this one runs.
const QUICK: Duration = Duration::from_millis(20);
/// So many of them. With one, a start that comes as soon as the last child has ended would wait for a fork that has just begun.
const AHEAD: usize = 2;
/// At most so many where the server has no CPU to itself: each fork then lies in the way of the child that runs. So none is made
/// before there is none left, and then several, and most starts meet no fork.
const AT_ONCE: usize = 4;
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

/// The two ends of a control socket.
type Pair = (OwnedFd, OwnedFd);
/// A child that waits for its orders, what it is to take on, and what is left for the next one.
struct Made {
    newborn: Newborn,
    inherited: io::Result<(Inherited, With)>,
    spare: Option<Pair>,
    /// Whether the server runs on the one CPU that this thread has.
    one_cpu: bool,
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
    let mut tried_again = false;
    let made = loop {
        match servers.fork() {
            Ok(made) => break made,
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
    let newborn = made.newborn;
    let told = made
        .inherited
        .and_then(|(inherited, with)| deliver(&newborn, Some((inherited, &with.descriptors()))));
    // Without orders it finds its socket at its end, and exits.
    told.map_err(NotStarted::Delivery)?;
    servers.prepare_next(made.spare, made.one_cpu);
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

    /// A child that waits for its orders, and what it is to take on: one that was asked for before, if it lives still and is
    /// what it should be.
    fn fork(&mut self) -> Result<Made, Trouble> {
        if let Some(more) = self.cannot {
            let by_preload = false;
            return Err(Trouble::Error(ForkServerError::Threads {
                more,
                by_preload,
            }));
        }
        let umask = match &mut self.umask {
            Some(umask) => umask,
            none => none.insert(UmaskTeller::new()?),
        };
        let surroundings = Surroundings::of_this_thread(umask)?;
        // For the next child; and to see what network we are in.
        let fresh = fds::socket_pair()?;
        let standing = Standing::of_this_thread(fresh.0.as_fd(), surroundings.stack())?;
        let mut fresh = Some(fresh);
        let revision = REVISION.load(Acquire);
        let fits = |server: &Server| server.standing == standing && self.revision == revision;
        if self.running.as_ref().is_some_and(|server| !fits(server)) {
            self.retire(false);
        }
        let server = match &mut self.running {
            Some(server) => server,
            none => {
                let preload = PRELOAD.load(Relaxed);
                let preload = (preload != 0).then_some(preload as u64);
                let started = Server::start(standing, preload);
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
        let mut a_pair = || fresh.take().map_or_else(fds::socket_pair, Ok);
        if server.asked() == 0 {
            server.ask(a_pair()?)?;
        }
        // While it forks, if it has to.
        let one_cpu = server.shares_one_cpu(&surroundings);
        let inherited = server.inherited(surroundings);
        let newborn = loop {
            if server.asked() == 0 {
                server.ask(a_pair()?)?;
                break server.answer()?;
            }
            let newborn = server.answer()?;
            if !fds::wait_readable(&newborn.pidfd, Deadline::NOW)? {
                break newborn;
            }
            // Somebody has killed it while it waited.
        };
        Ok(Made {
            newborn,
            inherited,
            spare: fresh,
            one_cpu,
        })
    }

    /// Where starts follow one another quickly, the next children are made while this one runs.
    fn prepare_next(&mut self, mut spare: Option<Pair>, one_cpu: bool) {
        let now = Instant::now();
        let before = self.last.replace(now);
        if before.is_none_or(|before| now.duration_since(before) >= QUICK) {
            self.quick = 0;
            return;
        }
        self.quick += 1;
        let Some(server) = &mut self.running else {
            return;
        };
        let most = match one_cpu {
            false => AHEAD,
            true if server.asked() == 0 => self.quick.clamp(AHEAD, AT_ONCE),
            true => return,
        };
        // If it is gone, the next start finds out.
        while server.asked() < most
            && let Ok(pair) = spare.take().map_or_else(fds::socket_pair, Ok)
            && server.ask(pair).is_ok()
        {}
    }
}
