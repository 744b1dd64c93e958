//! The children of this process: who runs, who has ended and how, and that nobody stays behind as a zombie.
//!
//! A status is collected through the child's pidfd only, so no foreign child is ever touched, and under the record's lock,
//! so that nobody finds it gone who should have found it. A forked child of this process starts with an empty table: it has
//! no children, and no thread that reaps.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::null_mut;
#[expect(clippy::disallowed_types, reason = "of this process alone")]
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering::*};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::forkserver;
use super::reaper::Reaper;
use super::status::Teller;
use super::wire::{self, Report};
use crate::multiprocessing::transfer::{Incoming, Parcels};
use crate::registry;
use crate::sys::clock::Deadline;
use crate::sys::known::Known;
use crate::sys::{fds, fork, pidfd};

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It exited with this code: 0 when its function returned, 1 when that panicked.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
    /// It has ended, but nobody can say how: somebody else has collected its status, or the fork server that was to tell
    /// was killed. (Of a server's child Linux tells by itself, from 6.15 on.)
    Unknown,
}

/// What a child left behind.
pub(crate) struct Legacy {
    pub(crate) exit: Exit,
    pub(crate) started: bool,
    pub(crate) report: Option<Report>,
    /// The result, until somebody takes it.
    pub(crate) result: Option<(Vec<u8>, Incoming)>,
}

enum State {
    Running { control: OwnedFd, parcels: Parcels },
    Ended(Legacy),
}

/// A child of this process.
pub(crate) struct Child {
    pub(crate) pid: u32,
    pub(crate) pidfd: OwnedFd,
    pub(crate) name: String,
    pub(crate) daemon: bool,
    generation: u32,
    teller: Teller,
    state: Mutex<State>,
}

/// A new process, before it is told what to do.
pub(crate) struct Newborn {
    pub(crate) pid: u32,
    pub(crate) pidfd: OwnedFd,
    /// Our end of its control socket.
    pub(crate) control: OwnedFd,
    pub(crate) teller: Teller,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing under these locks can leave its data half-changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Child {
    pub(crate) fn new(
        newborn: Newborn,
        name: String,
        daemon: bool,
        parcels: Parcels,
    ) -> Arc<Child> {
        let Newborn {
            pid,
            pidfd,
            control,
            teller,
        } = newborn;
        let child = Arc::new(Child {
            pid,
            pidfd,
            name,
            daemon,
            generation: fork::generation(),
            teller,
            state: Mutex::new(State::Running { control, parcels }),
        });
        lock(&table().children).push(child.clone());
        child
    }

    /// Whether this is a child of this very process, and not of the one it was forked from.
    pub(crate) fn is_ours(&self) -> bool {
        self.generation == fork::generation()
    }

    /// How it ended; `None` while it runs. Collects its status if that is still to be done.
    pub(crate) fn exit(&self) -> io::Result<Option<Exit>> {
        if !self.is_ours() {
            // The lock may be a copy of one that was held at the fork.
            let ended = fds::wait_readable(&self.pidfd, Deadline::NOW)?;
            return Ok(ended.then_some(Exit::Unknown));
        }
        self.collect(false)
    }

    /// Waits for its end; `None` if the deadline passes first.
    pub(crate) fn wait(&self, deadline: Deadline) -> io::Result<Option<Exit>> {
        if !self.is_ours() {
            // The lock may be a copy of one that was held at the fork.
            let ended = fds::wait_readable(&self.pidfd, deadline)?;
            return Ok(ended.then_some(Exit::Unknown));
        }
        if let Some(exit) = self.legacy(|legacy| legacy.exit) {
            return Ok(Some(exit));
        }
        if !self.teller.wait_end(self.pidfd.as_fd(), deadline)? {
            return Ok(None);
        }
        // It has ended, so this waits for nothing, unless a tracer has the first claim.
        self.collect(true)
    }

    fn collect(&self, wait: bool) -> io::Result<Option<Exit>> {
        let mut state = lock(&self.state);
        let (control, parcels) = match &mut *state {
            State::Ended(legacy) => return Ok(Some(legacy.exit)),
            State::Running { control, parcels } => (control, parcels),
        };
        let Some(exit) = self.teller.collect(self.pidfd.as_fd(), wait)? else {
            return Ok(None);
        };
        let legacy = Legacy::read(exit, control);
        let parcels = std::mem::take(parcels);
        let started = legacy.started;
        *state = State::Ended(legacy);
        drop(state);
        forget(self);
        // What it held in shared memory is let go of.
        registry::reap_all();
        if started {
            parcels.delivered();
        }
        Ok(Some(exit))
    }

    /// Looks at what an ended child left; `None` while it runs.
    pub(crate) fn legacy<T>(&self, look: impl FnOnce(&mut Legacy) -> T) -> Option<T> {
        match &mut *lock(&self.state) {
            State::Ended(legacy) => Some(look(legacy)),
            State::Running { .. } => None,
        }
    }
}

impl Legacy {
    fn read(exit: Exit, control: &OwnedFd) -> Legacy {
        let mut legacy = Legacy {
            exit,
            started: false,
            report: None,
            result: None,
        };
        // One that has exited by itself has said that it started, and one thing more, if anything.
        let most = match exit {
            Exit::Code(_) => 2,
            Exit::Signal(_) | Exit::Unknown => usize::MAX,
        };
        let (frames, incoming) = wire::drain(control.as_fd(), most);
        let mut incoming = Some(incoming);
        for frame in frames {
            let ours = |_: &Report| 0;
            // Only a result has descriptors, and it comes after the start.
            let handles = match legacy.started {
                true => incoming.take().unwrap_or_default(),
                false => Incoming::default(),
            };
            match wire::unpack::<Report>(&frame, handles, ours) {
                Ok(message) => match message.what {
                    Report::Started => legacy.started = true,
                    Report::Returned => {
                        legacy.report = Some(Report::Returned);
                        legacy.result = Some((message.body, message.handles));
                    }
                    other => legacy.report = Some(other),
                },
                Err(reason) => legacy.report = Some(Report::ResultNotSent { reason }),
            }
        }
        legacy
    }
}

/// What a process knows about its children.
struct Table {
    generation: u32,
    /// Those whose status has not been collected.
    children: Mutex<Vec<Arc<Child>>>,
    /// Those that nobody has a handle of and that the reaper could not take.
    stray: Mutex<Vec<Arc<Child>>>,
    #[expect(clippy::disallowed_types, reason = "of this process alone")]
    reaper: OnceLock<Option<Reaper>>,
    started: AtomicU32,
    /// This process's own, for its children to watch.
    myself: Known<OwnedFd>,
}

static TABLE: AtomicPtr<Table> = AtomicPtr::new(null_mut());

/// This process's table. One that was made before a fork is left alone: it belongs to the parent, and its locks may be
/// copies of held ones.
fn table() -> &'static Table {
    fork::watch();
    let generation = fork::generation();
    loop {
        let known = TABLE.load(Acquire);
        // SAFETY: null, or a leaked box.
        match unsafe { known.as_ref() } {
            Some(table) if table.generation == generation => return table,
            _ => {}
        }
        let fresh = Box::into_raw(Box::new(Table {
            generation,
            children: Mutex::new(Vec::new()),
            stray: Mutex::new(Vec::new()),
            #[expect(clippy::disallowed_types, reason = "of this process alone")]
            reaper: OnceLock::new(),
            started: AtomicU32::new(0),
            myself: Known::new(),
        }));
        if TABLE
            .compare_exchange(known, fresh, AcqRel, Acquire)
            .is_err()
        {
            // SAFETY: made just now, and nobody else has seen it.
            drop(unsafe { Box::from_raw(fresh) });
        }
    }
}

/// The number of the next child, counted from 1.
pub(crate) fn next_number() -> u32 {
    table().started.fetch_add(1, Relaxed).wrapping_add(1)
}

/// A descriptor for this process, which stays open.
pub(crate) fn my_pidfd() -> io::Result<BorrowedFd<'static>> {
    let myself = &table().myself;
    match myself.get() {
        Some(pidfd) => Ok(pidfd.as_fd()),
        None => {
            let pidfd = pidfd::open_self()?;
            Ok(myself.get_or(|| pidfd).as_fd())
        }
    }
}

fn forget(child: &Child) {
    lock(&table().children).retain(|other| !std::ptr::eq(&**other, child));
}

/// The children that run, as far as is known without waiting. Collects those that have ended.
pub(crate) fn running() -> Vec<Arc<Child>> {
    sweep();
    let mut children = lock(&table().children).clone();
    children.retain(|child| matches!(child.exit(), Ok(None)));
    children
}

/// Nobody has a handle of `child` any more: it shall be reaped all the same.
pub(crate) fn detach(child: Arc<Child>) {
    if !child.is_ours() || matches!(child.exit(), Ok(Some(_))) {
        return;
    }
    let table = table();
    let reaper = table.reaper.get_or_init(|| Reaper::start().ok());
    let left = match reaper {
        Some(reaper) => reaper.adopt(child).err(),
        None => Some(child),
    };
    lock(&table.stray).extend(left);
}

/// Collects those strays that have ended, fork servers too.
pub(crate) fn sweep() {
    forkserver::sweep();
    lock(&table().stray).retain(|child| matches!(child.exit(), Ok(None)));
}
