//! The warden: a thread without a purpose but to live as long as its process.
//!
//! What a thread takes in shared memory stays taken when it ends, as long as its process lives; that the process lives is
//! told by words that its threads hold. So when the last thread that holds such a word ends, and the process goes on, a
//! thread must be there to hold one. Few programs ever need it: as a rule the main thread has joined and stays.

use std::ffi::c_void;
use std::ptr::{null_mut, with_exposed_provenance};
use std::sync::atomic::{AtomicU32, Ordering::*};
use std::time::Duration;

use super::membership;
use crate::shm::arena::Arena;
use crate::sys::clock::Deadline;
use crate::sys::futex;

const HIRED: u32 = 0;
const READY: u32 = 1;
const ROW_FREE: u32 = 2;

/// A warden that holds a thread word and waits for the row.
pub(super) struct Warden(&'static Post);

struct Post {
    arena: &'static Arena,
    step: AtomicU32,
}

impl Post {
    fn wait_while(&self, step: u32) {
        while self.step.load(Acquire) == step {
            futex::wait(&self.step, step, false, Deadline::NEVER);
        }
    }

    fn go_on(&self, step: u32) {
        self.step.store(step, Release);
        futex::wake(self.step.as_ptr(), false, u32::MAX);
    }
}

/// Starts a warden and waits until it holds a thread word.
pub(super) fn hire(arena: &'static Arena) -> Warden {
    // Leaked: one small block a warden, and a process has few in its life.
    let post: &'static Post = Box::leak(Box::new(Post {
        arena,
        step: AtomicU32::new(HIRED),
    }));
    let mut attempts = 0;
    while !start(post) {
        attempts += 1;
        if attempts == 500 {
            // Going on would let others take what this process holds while it still runs.
            eprintln!(
                "allcores: cannot start a thread to tell other processes that this one lives; aborting"
            );
            std::process::abort();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    post.wait_while(HIRED);
    Warden(post)
}

impl Warden {
    /// The row is free: the warden takes it.
    pub(super) fn take_over(self) {
        self.0.go_on(ROW_FREE);
    }
}

fn start(post: &'static Post) -> bool {
    let mut thread = 0;
    // SAFETY: plain libc calls on local objects. No thread of std's: we are in the last throes of one, where its
    // thread-locals are gone. Signals are for the program's own threads.
    unsafe {
        let mut all = std::mem::zeroed();
        let mut before = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_BLOCK, &all, &mut before);
        let made = libc::pthread_create(
            &mut thread,
            std::ptr::null(),
            watch_over,
            (&raw const *post).cast_mut().cast(),
        );
        libc::pthread_sigmask(libc::SIG_SETMASK, &before, null_mut());
        if made == 0 {
            libc::pthread_setname_np(thread, c"allcores-warden".as_ptr());
            libc::pthread_detach(thread);
        }
        made == 0
    }
}

extern "C" fn watch_over(post: *mut c_void) -> *mut c_void {
    // SAFETY: `start` passes a leaked Post.
    let post: &'static Post = unsafe { &*with_exposed_provenance(post.expose_provenance()) };
    if membership::succeed(post.arena).is_err() {
        eprintln!(
            "allcores: shared memory has no room to tell other processes that this one lives; aborting"
        );
        std::process::abort();
    }
    post.go_on(READY);
    post.wait_while(READY);
    membership::take_free_row(post.arena);
    loop {
        // SAFETY: pause takes nothing; all signals are blocked, so it does not return.
        unsafe { libc::pause() };
    }
}
