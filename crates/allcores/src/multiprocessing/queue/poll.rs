//! A queue as a descriptor that can be polled.
//!
//! A queue is memory, and memory cannot be polled. So a thread of the asking process waits as any consumer would, and raises
//! an eventfd; whoever takes the last message in this process lowers it again. Nothing of that is paid for, nor seen by
//! other processes, unless a descriptor has been asked for.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::*, fence};

use super::core::Core;
use super::typed::Queue;
use super::wait::{Awaited, Ended, Wait};
use crate::sync::{Deadline, Event, Scope};
use crate::sys::local::Local;
use crate::sys::{fds, fork, signals};

/// A descriptor that is readable while a [`Queue`] has something to get, or has come to its end: for
/// [`wait`](crate::multiprocessing::wait), poll(2), epoll(7) and runtimes that stand on them. Made by [`Queue::pollable`].
///
/// What is readable now need not be a moment later, since other consumers may be quicker: get with
/// [`try_get`](Queue::try_get). When other processes have taken the last message, the descriptor stays readable until
/// somebody in this one finds the queue empty. Nobody but allcores may read from the descriptor or write to it.
///
/// A thread of this process stands behind it, which ends when this is dropped. A forked process has no such thread: its
/// copy makes a new descriptor and a new thread when it is asked for it.
///
/// ```
/// use allcores::multiprocessing::{Queue, wait};
/// let queue = Queue::new()?;
/// let pollable = queue.pollable()?;
/// queue.put(&7)?;
/// assert_eq!(wait(&[&pollable], None)?, [0]);
/// assert_eq!(queue.try_get()?, 7);
/// assert!(wait(&[&pollable], std::time::Duration::ZERO)?.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Pollable {
    core: Core,
    heeds_holders: bool,
    pump: Local<Option<Arc<Pump>>>,
}

struct Pump {
    core: Core,
    /// Whether the descriptor becomes readable when nobody else is left.
    heeds_holders: bool,
    raised: OwnedFd,
    is_raised: Local<bool>,
    /// It has been lowered: wait again.
    lowered: Event,
    stopped: AtomicBool,
    generation: u32,
}

/// How many pumps there are: looked at by every consumer.
static PUMPS: AtomicUsize = AtomicUsize::new(0);
static TABLE: Local<Vec<Arc<Pump>>> = Local::new(Vec::new());

impl<T> Queue<T> {
    /// A descriptor that can be polled for this queue.
    ///
    /// # Errors
    /// Without a free descriptor, or if no thread can be started.
    pub fn pollable(&self) -> io::Result<Pollable> {
        self.pollable_heeding(true)
    }

    /// As [`Queue::pollable`]; only if it `heeds_holders` is the descriptor readable when nobody else is left.
    ///
    /// # Errors
    /// As for [`Queue::pollable`].
    #[doc(hidden)]
    pub fn pollable_heeding(&self, heeds_holders: bool) -> io::Result<Pollable> {
        let pollable = Pollable {
            core: self.core().clone(),
            heeds_holders,
            pump: Local::new(None),
        };
        pollable.pump()?;
        Ok(pollable)
    }
}

impl Pollable {
    /// The pump of this process.
    fn pump(&self) -> io::Result<Arc<Pump>> {
        let mut pump = self.pump.lock();
        match &*pump {
            Some(running) if running.generation == fork::generation() => Ok(running.clone()),
            _ => {
                let started = Pump::start(self.core.clone(), self.heeds_holders)?;
                // After a fork the parent's stays as it is: its descriptor may have been given away.
                if let Some(parents) = pump.replace(started.clone()) {
                    std::mem::forget(parents);
                }
                Ok(started)
            }
        }
    }

    /// The descriptor's number.
    pub fn fileno(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }

    /// [`Pollable::fileno`] without a panic.
    ///
    /// # Errors
    /// In a forked process, if the new descriptor or its thread cannot be had.
    #[doc(hidden)]
    pub fn try_fileno(&self) -> io::Result<RawFd> {
        let pump = self.pump()?;
        pump.show();
        Ok(pump.raised.as_raw_fd())
    }
}

impl AsFd for Pollable {
    /// # Panics
    /// In a forked process, if the new descriptor or its thread cannot be had.
    fn as_fd(&self) -> BorrowedFd<'_> {
        let pump = self
            .pump()
            .unwrap_or_else(|error| panic!("no pollable descriptor after a fork: {error}"));
        pump.show();
        // SAFETY: `self` keeps the pump, and with it the descriptor, until it is dropped; those of before a fork are never
        // closed.
        unsafe { BorrowedFd::borrow_raw(pump.raised.as_raw_fd()) }
    }
}

impl Drop for Pollable {
    fn drop(&mut self) {
        if let Some(pump) = self.pump.lock().take()
            && pump.generation == fork::generation()
        {
            pump.stop();
        }
    }
}

impl fmt::Debug for Pollable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pollable").finish_non_exhaustive()
    }
}

impl Pump {
    fn start(core: Core, heeds_holders: bool) -> io::Result<Arc<Pump>> {
        let pump = Arc::new(Pump {
            core,
            heeds_holders,
            raised: fds::event()?,
            is_raised: Local::new(false),
            lowered: Event::new(),
            stopped: AtomicBool::new(false),
            generation: fork::generation(),
        });
        pump.unshown().fetch_add(1, SeqCst);
        let runner = pump.clone();
        TABLE.lock().push(pump.clone());
        PUMPS.fetch_add(1, AcqRel);
        let started = std::thread::Builder::new()
            .name("allcores-pollable".into())
            .spawn(move || {
                // The program's signals are for the program's threads.
                signals::block_all();
                runner.run();
            });
        if let Err(error) = started {
            pump.leave();
            return Err(error);
        }
        Ok(pump)
    }

    fn run(&self) {
        while !self.stopped.load(Acquire) {
            let ended = self.wait();
            // It takes nothing: a wake-up that it has had is somebody else's.
            self.core.pass_on(Awaited::Items);
            if self.raise(ended) {
                while !self.lowered.is_set() {
                    let _ = self.lowered.wait(Scope::PRIVATE, Deadline::NEVER);
                }
                self.lowered.clear();
            }
        }
    }

    /// Waits until there is something to get; whether nothing ever will be.
    fn wait(&self) -> bool {
        let mut wait = Wait::new(self.core.scope(), Deadline::NEVER, self.heeds_holders);
        loop {
            if self.stopped.load(Acquire) || self.core.len() > 0 || self.core.is_closed() {
                return false;
            }
            if self.core.wait(Awaited::Items, &mut wait) == Err(Ended::Disconnected) {
                return true;
            }
        }
    }

    /// Makes the descriptor readable, if there is still a reason to.
    fn raise(&self, ended: bool) -> bool {
        let mut is_raised = self.is_raised.lock();
        if self.core.len() == 0 && !self.core.is_closed() && !ended {
            return false;
        }
        self.show_it(&mut is_raised);
        true
    }

    fn show_it(&self, is_raised: &mut bool) {
        fds::raise(self.raised.as_fd());
        if !std::mem::replace(is_raised, true) {
            self.unshown().fetch_sub(1, SeqCst);
        }
    }

    /// How many descriptors of all processes are not raised: looked at by whoever puts something and ends.
    fn unshown(&self) -> &AtomicU32 {
        &self.core.body().items.patience.unshown
    }

    /// Whoever asks for the descriptor may look at it before the thread has seen what is there already.
    fn show(&self) {
        let mut is_raised = self.is_raised.lock();
        if !*is_raised && (self.core.len() > 0 || self.core.is_closed()) {
            self.show_it(&mut is_raised);
        }
    }

    /// Somebody has taken a message, or found none.
    fn lower(&self) {
        let mut is_raised = self.is_raised.lock();
        if !*is_raised || self.core.len() > 0 || self.core.is_closed() || self.stopped.load(Acquire)
        {
            return;
        }
        // First, so that what is put meanwhile is seen here, or this by whoever put it.
        self.unshown().fetch_add(1, SeqCst);
        fence(SeqCst);
        if self.core.len() > 0 {
            self.unshown().fetch_sub(1, SeqCst);
            return;
        }
        *is_raised = false;
        fds::lower(self.raised.as_fd());
        self.wait_again();
    }

    fn wait_again(&self) {
        // SAFETY: the event is borrowed, hence live.
        unsafe { Event::set(&raw const self.lowered, Scope::PRIVATE) };
    }

    fn stop(&self) {
        self.stopped.store(true, Release);
        self.leave();
        self.wait_again();
        self.core.wake_all();
    }

    fn leave(&self) {
        // Not counted any more, whatever the thread does until it ends.
        if !std::mem::replace(&mut *self.is_raised.lock(), true) {
            self.unshown().fetch_sub(1, SeqCst);
        }
        TABLE
            .lock()
            .retain(|other| !std::ptr::eq(&raw const **other, self));
        PUMPS.fetch_sub(1, AcqRel);
    }
}

/// A consumer of this process has looked at the queue: its descriptors are lowered if it is empty now.
#[inline]
pub(super) fn looked(core: &Core) {
    if PUMPS.load(Acquire) > 0 {
        of(core).iter().for_each(|pump| pump.lower());
    }
}

/// How many handles of this process belong to pumps and wait for nobody.
pub(super) fn handles(core: &Core) -> usize {
    match PUMPS.load(Acquire) {
        0 => 0,
        // Its own, and that of the value that stands for it.
        _ => 2 * of(core).len(),
    }
}

#[cold]
fn of(core: &Core) -> Vec<Arc<Pump>> {
    let table = TABLE.lock();
    let mine = |pump: &&Arc<Pump>| {
        pump.generation == fork::generation() && pump.core.handle().same(core.handle())
    };
    table.iter().filter(mine).cloned().collect()
}
