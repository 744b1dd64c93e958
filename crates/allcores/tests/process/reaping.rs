//! Nobody stays a zombie, and no status is invented; what fork(2) changes.

use std::os::fd::AsFd;
use std::time::Duration;

use allcores::multiprocessing::process::{Exit, ProcessError};
use allcores::multiprocessing::{Connection, Pipe, Process, StartMethod, active_children, wait};

use crate::util::{METHODS, add, exit_with, forked, standing_by, standing_by_started};

/// When the process with this number was started, if the process table has an entry for it: tells it from a later one.
fn in_the_table(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields = stat.rsplit(')').next()?;
    fields.split_whitespace().nth(19).map(str::to_owned)
}

#[test]
fn a_dropped_process_goes_on_and_leaves_no_zombie() {
    for method in METHODS {
        let (p, here) = standing_by_started(method);
        let (pid, sentinel) = (p.pid(), p.as_fd().try_clone_to_owned().unwrap());
        drop(p);
        assert!(active_children().iter().any(|child| child.pid() == pid));
        let started = in_the_table(pid);
        assert!(started.is_some());
        here.send(&1).unwrap();
        assert_eq!(wait(&[&sentinel], None).unwrap(), [0]);
        while in_the_table(pid) == started {
            std::thread::yield_now();
        }
    }
}

#[test]
fn an_active_child_can_be_ended_without_its_handle() {
    let (p, _here) = standing_by();
    let pid = p.pid();
    let started = in_the_table(pid);
    drop(p);
    let child = active_children()
        .into_iter()
        .find(|child| child.pid() == pid)
        .unwrap();
    assert!(child.is_alive() && !child.join_timeout(Duration::from_millis(1)).unwrap());
    child.kill().unwrap();
    child.join().unwrap();
    assert_eq!(child.exitcode(), Some(-libc::SIGKILL));
    assert!(started.is_some() && in_the_table(pid) != started);
}

/// Collects a child behind the library's back.
fn steal_status(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid as i32);
    let options = rustix::process::WaitOptions::empty();
    rustix::process::waitpid(pid, options).unwrap();
}

#[test]
fn a_status_that_somebody_else_took_is_unknown_and_not_invented() {
    fn test(_: ()) {
        let spawned = |code| Process::new(exit_with, code).start_method(StartMethod::Spawn);
        let p = spawned(3).start().unwrap();
        steal_status(p.pid());
        assert!(matches!(p.result(), Err(ProcessError::StatusLost { .. })));
        assert_eq!((p.exit(), p.exitcode()), (Some(Exit::Unknown), None));
        assert!(!p.is_alive());
        p.kill().unwrap();

        // The result is known all the same.
        let p = Process::new(add, (2, 2)).start_method(StartMethod::Spawn);
        let p = p.start().unwrap();
        steal_status(p.pid());
        assert_eq!(p.result().unwrap(), 4);
    }
    // In a process of its own: here a test that looks for active children may be quicker than the thief.
    let p = Process::new(test, ()).start_method(StartMethod::Spawn);
    p.start().unwrap().join().unwrap();
}

#[test]
fn it_works_where_sigchld_is_ignored() {
    fn sigchld_ignored(method: StartMethod) -> (u64, Option<i32>, Option<i32>) {
        // SAFETY: SIG_IGN is no code of ours.
        unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
        let p = Process::new(add, (1, 2)).start_method(method);
        let p = p.start().unwrap();
        let sum = p.result().unwrap();
        let exit = Process::new(exit_with, 3).start_method(method);
        let exit = exit.start().unwrap();
        match (exit.result(), exit.exitcode()) {
            (Err(ProcessError::StatusLost { .. }), None) => {}
            (Err(ProcessError::Exited { code: 3, .. }), Some(3)) => {}
            other => panic!("{other:?}"),
        }
        (sum, p.exitcode(), exit.exitcode())
    }
    let outcome = |method| {
        let p = Process::new(sigchld_ignored, method).start().unwrap();
        p.result().unwrap()
    };
    assert_eq!(outcome(StartMethod::Spawn), (3, None, None));
    // Not its children in the kernel's eyes.
    assert_eq!(outcome(StartMethod::ForkServer), (3, Some(0), Some(3)));
}

#[test]
fn a_forked_process_has_no_children_and_can_have_its_own() {
    fn forks(_: ()) -> (i32, bool) {
        let (p, here) = standing_by();
        let dropped = standing_by();
        drop(dropped.0);
        // SAFETY: the child uses this thread only, ends by _exit, and glibc keeps its allocator usable after a fork.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            let checks = [
                active_children().is_empty(),
                matches!(p.result(), Err(ProcessError::NotOurChild { .. })),
                p.is_alive(),
                Process::new(add, (1, 2)).start().unwrap().result().unwrap() == 3,
                standing_by().0.kill().is_ok(),
            ];
            drop(p);
            // SAFETY: leaves without running the parent's exit handlers.
            unsafe { libc::_exit(i32::from(checks != [true; 5])) };
        }
        let mut status = 0;
        // SAFETY: our own child, forked above.
        unsafe { libc::waitpid(pid, &mut status, 0) };
        here.send(&4).unwrap();
        (status, p.result().unwrap() == Some(4))
    }
    let p = Process::new(forks, ()).start().unwrap();
    assert_eq!(p.result().unwrap(), (0, true));
}

#[test]
fn a_forked_process_that_lives_on_keeps_nobody_waiting() {
    // It holds a copy of everything that its parent had, the control socket too.
    fn forks(end: Connection<u8, u8>) -> u8 {
        forked(|| {
            let _ = end.recv();
            end.send(&6).unwrap();
        });
        5
    }
    let (there, here) = Pipe::<u8, u8>().unwrap();
    let p = Process::new(forks, there).start().unwrap();
    assert_eq!(p.result().unwrap(), 5);
    here.send(&0).unwrap();
    assert_eq!(here.recv().unwrap(), 6);
}

#[test]
fn a_forked_process_may_use_a_connection_that_another_thread_was_waiting_at() {
    fn forks(_: ()) -> (u8, i32) {
        let (a, b) = Pipe::<u8, u8>().unwrap();
        let (reads_now, may_read) = Pipe::<(), ()>().unwrap();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| a.recv().unwrap());
            // Until the other thread sleeps in its read, whichever call that is.
            let reads = |thread: std::io::Result<std::fs::DirEntry>| {
                use libc::{SYS_ppoll, SYS_read, SYS_recvfrom, SYS_recvmsg};
                let syscall = thread.unwrap().path().join("syscall");
                let text = std::fs::read_to_string(syscall).unwrap_or_default();
                let number = text.split(' ').next().and_then(|word| word.parse().ok());
                [SYS_read, SYS_recvfrom, SYS_recvmsg, SYS_ppoll]
                    .map(Some)
                    .contains(&number)
            };
            while !std::fs::read_dir("/proc/self/task").unwrap().any(reads) {
                std::thread::yield_now();
            }
            let pid = forked(|| {
                may_read.recv().unwrap();
                assert_eq!(a.recv().unwrap(), 2);
            });
            // One after the other: of processes that read at the same time each may get a part of a message.
            b.send(&1).unwrap();
            let first = waiter.join().unwrap();
            b.send(&2).unwrap();
            reads_now.send(&()).unwrap();
            let mut status = -1;
            // SAFETY: our own child, forked above.
            unsafe { libc::waitpid(pid, &mut status, 0) };
            (first, status)
        })
    }
    let p = Process::new(forks, ()).start().unwrap();
    assert_eq!(p.result().unwrap(), (1, 0));
}
