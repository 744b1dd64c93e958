//! What a forked child has handles of, and its parent lets go of before the child holds it itself: for faces in other
//! languages, whose programs fork as they please and tell of it.
//!
//! Seen red: `keep` that keeps nothing; `in_child` that does not join; a fork that is awaited only once it is over; children
//! that are awaited for ever; and, always, the control that tells of no fork.

use std::io::{PipeReader, PipeWriter};
use std::io::{Read, Write, pipe};
use std::sync::Mutex;

use allcores::face;
use allcores::multiprocessing::Lock;
use allcores::shm::usage;

/// The arena, and what is kept of it, belong to the whole process: tests take turns.
static TURN: Mutex<()> = Mutex::new(());

const INHERITED: u8 = 5;
const LATER: u8 = 9;

/// A sign that one process gives another.
struct Sign(PipeReader, Option<PipeWriter>);

impl Sign {
    fn new() -> Sign {
        let (reader, writer) = pipe().unwrap();
        Sign(reader, Some(writer))
    }

    fn give(&mut self) {
        self.1.take().unwrap().write_all(&[1]).unwrap();
    }

    fn wait(&mut self) {
        self.0.read_exact(&mut [0]).unwrap();
    }
}

struct Child(i32);

impl Child {
    fn forked(life: impl FnOnce() -> u8) -> Child {
        // SAFETY: the child uses what works in the child of many threads: glibc's own, and allcores.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "{}", std::io::Error::last_os_error());
        if pid == 0 {
            let answer = std::panic::catch_unwind(std::panic::AssertUnwindSafe(life));
            // SAFETY: ends the child.
            unsafe { libc::_exit(i32::from(answer.unwrap_or(255))) };
        }
        Child(pid)
    }

    /// A fork as a face tells of it; `before_joining` is done by the child while it holds nothing.
    fn of_a_face(before_joining: impl FnOnce(), life: impl FnOnce() -> u8) -> Child {
        face::before_fork();
        let child = Child::forked(|| {
            before_joining();
            face::after_fork_in_child();
            life()
        });
        face::after_fork_in_parent();
        child
    }

    fn status(&self) -> i32 {
        let mut status = 0;
        // SAFETY: our own child, and a valid place.
        assert_eq!(unsafe { libc::waitpid(self.0, &mut status, 0) }, self.0);
        status
    }

    fn answer(self) -> u8 {
        let status = self.status();
        assert!(libc::WIFEXITED(status), "{status:#x}");
        libc::WEXITSTATUS(status) as u8
    }

    fn kill(self) {
        // SAFETY: our own child, not yet waited for.
        assert_eq!(unsafe { libc::kill(self.0, libc::SIGKILL) }, 0);
        assert!(libc::WIFSIGNALED(self.status()));
    }
}

fn a_lock() -> Lock<u8> {
    Lock::new(INHERITED).unwrap()
}

/// What lies in the memory of a lock that was let go, if anybody could get at that.
fn others() -> Vec<Lock<u8>> {
    (0..8).map(|_| Lock::new(LATER).unwrap()).collect()
}

/// How many cells are in use, once what was kept in vain has been let go.
fn cells() -> usize {
    drop(a_lock());
    usage().unwrap().0
}

fn taken_in_turn(test: impl FnOnce()) {
    let _turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    // What a child of the last test held would be counted, until it is settled.
    face::reap();
    test();
}

#[test]
fn what_the_parent_drops_before_the_child_joins_is_the_childs() {
    taken_in_turn(|| {
        let before = cells();
        let (mut go, lock) = (Sign::new(), a_lock());
        let child = {
            let Sign(reader, _) = &mut go;
            Child::of_a_face(
                || reader.read_exact(&mut [0]).unwrap(),
                || *lock.acquire().unwrap(),
            )
        };
        drop(lock);
        let others = others();
        go.give();
        assert_eq!(child.answer(), INHERITED);
        drop(others);
        face::reap();
        assert_eq!(cells(), before, "all is given back");
    });
}

/// Without a word of the fork the same child finds what is not its lock: the test above can see it.
#[test]
fn control_a_fork_that_nobody_tells_of() {
    taken_in_turn(|| {
        let (mut go, lock) = (Sign::new(), a_lock());
        let child = {
            let Sign(reader, _) = &mut go;
            Child::forked(|| {
                reader.read_exact(&mut [0]).unwrap();
                *lock.acquire().unwrap()
            })
        };
        drop(lock);
        let _others = others();
        go.give();
        assert_eq!(child.answer(), LATER);
    });
}

#[test]
fn a_handle_may_be_dropped_while_the_process_forks() {
    taken_in_turn(|| {
        let (mut go, lock) = (Sign::new(), a_lock());
        face::before_fork();
        let child = {
            let Sign(reader, _) = &mut go;
            Child::forked(|| {
                reader.read_exact(&mut [0]).unwrap();
                face::after_fork_in_child();
                *lock.acquire().unwrap()
            })
        };
        // As another thread may, before the one that forks is back.
        drop(lock);
        face::after_fork_in_parent();
        let _others = others();
        go.give();
        assert_eq!(child.answer(), INHERITED);
    });
}

#[test]
fn what_is_made_after_the_fork_is_not_kept() {
    taken_in_turn(|| {
        let before = cells();
        let lock = a_lock();
        let mut go = Sign::new();
        let child = {
            let Sign(reader, _) = &mut go;
            Child::of_a_face(|| reader.read_exact(&mut [0]).unwrap(), || 0)
        };
        drop(others());
        assert_eq!(cells(), before + 1, "the lock that the child knows");
        drop(lock);
        assert_eq!(cells(), before + 1, "is kept for it");
        go.give();
        child.answer();
        face::reap();
        assert_eq!(cells(), before);
    });
}

#[test]
fn a_child_that_is_killed_before_it_joins_keeps_nothing() {
    taken_in_turn(|| {
        let before = cells();
        let lock = a_lock();
        let never = Sign::new();
        let child = Child::of_a_face(
            || {
                (&never.0).read_exact(&mut [0]).unwrap();
            },
            || 0,
        );
        drop(lock);
        assert_eq!(cells(), before + 1, "kept while the child may come to it");
        child.kill();
        assert_eq!(cells(), before);
    });
}

#[test]
fn a_child_that_becomes_another_program_keeps_nothing() {
    taken_in_turn(|| {
        let before = cells();
        let lock = a_lock();
        let mut end = Sign::new();
        // The program reads the pipe to its end: standard input, so that it has nothing else of ours.
        let child = Child::of_a_face(
            || {
                use std::os::fd::AsRawFd;
                end.1 = None;
                // SAFETY: plain calls on an open descriptor, and strings that end.
                unsafe {
                    libc::dup2(end.0.as_raw_fd(), 0);
                    libc::execlp(
                        c"cat".as_ptr(),
                        c"cat".as_ptr(),
                        std::ptr::null::<libc::c_char>(),
                    );
                }
            },
            || 0,
        );
        drop(lock);
        // It lives, and keeps nothing all the same.
        while cells() != before {
            std::thread::yield_now();
        }
        end.1 = None;
        assert_eq!(child.answer(), 0);
    });
}

#[test]
fn a_fork_that_fails_keeps_nothing() {
    taken_in_turn(|| {
        let before = cells();
        let lock = a_lock();
        face::before_fork();
        face::after_fork_in_parent();
        drop(lock);
        assert_eq!(cells(), before);
    });
}

/// The child of the child joins when both of them have let go.
#[test]
fn nested_forks() {
    taken_in_turn(|| {
        let before = cells();
        let mut lock = Some(a_lock());
        let (mut go, mut dropped) = (Sign::new(), Sign::new());
        let child = {
            let (Sign(reader, _), lock, dropped) = (&mut go, &mut lock, &mut dropped);
            Child::of_a_face(
                || {},
                || {
                    let grandchild = Child::of_a_face(
                        || reader.read_exact(&mut [0]).unwrap(),
                        || *lock.as_ref().unwrap().acquire().unwrap(),
                    );
                    *lock = None;
                    dropped.give();
                    grandchild.answer()
                },
            )
        };
        lock = None;
        dropped.wait();
        let others = others();
        go.give();
        assert_eq!(child.answer(), INHERITED);
        assert!(lock.is_none());
        drop(others);
        face::reap();
        assert_eq!(cells(), before);
    });
}
