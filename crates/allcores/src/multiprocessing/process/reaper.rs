//! The thread that reaps children nobody has a handle of. Started for the first of them; never ends.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

use super::children::Child;
use crate::sys::clock::Deadline;
use crate::sys::signals;

/// The children in its care, by process number: a number is not given away before its child has been reaped.
type Care = Mutex<HashMap<u32, Arc<Child>>>;

pub(crate) struct Reaper {
    epoll: Arc<OwnedFd>,
    care: Arc<Care>,
}

impl Reaper {
    pub(crate) fn start() -> io::Result<Reaper> {
        let epoll = Arc::new(epoll::create(CreateFlags::CLOEXEC)?);
        let care = Arc::<Care>::default();
        let reaper = Reaper {
            epoll: epoll.clone(),
            care: care.clone(),
        };
        std::thread::Builder::new()
            .name("allcores-reaper".into())
            .spawn(move || {
                // The program's signals are for the program's threads.
                signals::block_all();
                reap(&epoll, &care);
            })?;
        Ok(reaper)
    }

    /// Takes a child into care, or gives it back.
    pub(crate) fn adopt(&self, child: Arc<Child>) -> Result<(), Arc<Child>> {
        let mut care = self.care.lock().unwrap_or_else(PoisonError::into_inner);
        let data = EventData::new_u64(u64::from(child.pid));
        match epoll::add(&self.epoll, &child.pidfd, data, EventFlags::IN) {
            Ok(()) => {
                care.insert(child.pid, child);
                Ok(())
            }
            Err(_) => Err(child),
        }
    }
}

fn reap(epoll: &OwnedFd, care: &Care) {
    let mut events = Vec::<Event>::with_capacity(64);
    loop {
        events.clear();
        // A signal cannot interrupt this, and what else can fail would fail again.
        match epoll::wait(epoll, rustix::buffer::spare_capacity(&mut events), None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
        for event in &events {
            let pid = event.data.u64() as u32;
            let child = care
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&pid);
            if let Some(child) = child {
                // Before the descriptor is closed: a forked process may hold a copy, which would keep it in the set.
                let _ = epoll::delete(epoll, child.pidfd.as_fd());
                let _ = child.wait(Deadline::NEVER);
            }
        }
    }
}
