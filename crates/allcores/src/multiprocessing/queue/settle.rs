//! A process that ends after a put lets those learn of the message first that look at a descriptor.
//!
//! Behind a descriptor stands a thread of the process that looks at it, and that thread may be slower than the end of the one
//! that put: then its pidfd is readable, and the queue's descriptor is not yet. Whoever waits for both, as executors do, would
//! take the process for one that died with its work.

use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::time::{Duration, Instant};

use super::body::{Body, Moved};
use crate::sys::local::Local;

/// Where this process put something while a descriptor did not show it: addresses of bodies. Arenas stay mapped, and a cell
/// that has become another one costs [`LONGEST`] at most.
static PUT: Local<Vec<usize>> = Local::new(Vec::new());

const MOST: usize = 16;
/// Of a descriptor whose process has been killed nobody knows better: it is waited for so long.
const LONGEST: Duration = Duration::from_millis(500);
const FIRST_PAUSE: Duration = Duration::from_micros(50);
const LAST_PAUSE: Duration = Duration::from_millis(2);

#[cold]
pub(super) fn remember(body: &Body) {
    let address = std::ptr::from_ref(body).expose_provenance();
    let mut put = PUT.lock();
    if !put.contains(&address) && put.len() < MOST {
        put.push(address);
    }
}

/// Before this process ends: waits, not for long, until descriptors show what it has put.
pub(crate) fn settle() {
    let put = std::mem::take(&mut *PUT.lock());
    for address in put {
        // SAFETY: a body in an arena, which stays mapped; only atomics are looked at.
        let body = unsafe { &*std::ptr::with_exposed_provenance::<Body>(address) };
        let (began, mut pause) = (Instant::now(), FIRST_PAUSE);
        while began.elapsed() < LONGEST {
            let taken = Moved::count(body.get.moved.word.load(Acquire));
            let there = Moved::count(body.put.moved.word.load(Acquire)) != taken;
            if !there || body.items.patience.unshown.load(Relaxed) == 0 {
                break;
            }
            std::thread::sleep(pause);
            pause = LAST_PAUSE.min(pause * 2);
        }
    }
}
