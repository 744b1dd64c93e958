//! What becomes of children whose server is killed, or whose end somebody else hears of first.

use std::os::fd::AsFd;

use allcores::multiprocessing::process::{Exit, ProcessError};
use allcores::multiprocessing::{
    self as mp, Connection, Pipe, Process, StartMethod, active_children,
};

use crate::util::{alone, children_of, forked, kill, server, server_tells, servers, standing_by};

#[test]
fn children_live_on_when_it_is_killed_and_the_next_has_another() {
    fn test(_: ()) {
        let (p, here) = standing_by();
        let (dropped, there) = standing_by();
        let dropped_pid = dropped.pid();
        drop(dropped);
        let first = server();
        kill(first);
        // Two were ready, perhaps; the next is not.
        for _ in 0..3 {
            assert_eq!(forked(|n: u32| n + 1, 1).unwrap().result().unwrap(), 2);
        }
        assert_ne!(server(), first, "and the first is no zombie");
        assert!(p.is_alive());
        assert_eq!(active_children().len(), 2);
        here.send(&5).unwrap();
        assert_eq!(p.result().unwrap(), 5);
        there.send(&5).unwrap();
        while active_children()
            .iter()
            .any(|child| child.pid() == dropped_pid)
        {
            std::thread::yield_now();
        }
    }
    alone(test);
}

#[test]
fn the_status_of_a_child_whose_server_was_killed_is_known_or_lost_and_never_invented() {
    fn exits(end: Connection<u8, u8>) {
        end.send(&0).unwrap();
        std::process::exit(end.recv().unwrap().into());
    }
    fn test(_: ()) {
        // The orphans are ours then, and it is up to us to collect them.
        // SAFETY: a plain call on this process.
        unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) };
        for collects in [true, false] {
            let (there, here) = Pipe().unwrap();
            let p = forked(exits, there).unwrap();
            here.recv().unwrap();
            kill(server());
            while !children_of(std::process::id()).contains(&p.pid()) {
                std::thread::yield_now();
            }
            here.send(&7).unwrap();
            if collects {
                let pid = rustix::process::Pid::from_raw(p.pid() as i32);
                let options = rustix::process::WaitOptions::empty();
                rustix::process::waitpid(pid, options).unwrap();
            }
            match (p.result(), p.exit()) {
                (Err(ProcessError::Exited { code: 7, .. }), Some(Exit::Code(7)))
                    if collects && !server_tells() => {}
                (Err(ProcessError::StatusLost { .. }), Some(Exit::Unknown))
                    if !collects || server_tells() => {}
                other => panic!("{other:?}"),
            }
            assert!(!p.is_alive());
        }
    }
    alone(test);
}

#[test]
fn it_ends_with_its_process_whoever_holds_copies_of_its_socket() {
    fn starts_one_and_forks(end: Connection<u8, u8>) {
        // So that one is ready, too, for a start that never comes.
        for _ in 0..10 {
            forked(|()| (), ()).unwrap().join().unwrap();
        }
        let (_p, _here) = standing_by();
        // SAFETY: the child uses this thread only and waits to be killed.
        if unsafe { libc::fork() } == 0 {
            // It lives until we are gone, with a copy of every descriptor.
            let _ = end.recv();
            // SAFETY: leaves without running the parent's exit handlers.
            unsafe { libc::_exit(0) };
        }
        kill(std::process::id());
    }
    fn test(_: ()) {
        // So that what it leaves behind is to be seen here.
        // SAFETY: a plain call on this process.
        unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) };
        let (there, here) = Pipe::<u8, u8>().unwrap();
        let p = Process::new(starts_one_and_forks, there);
        let p = p.start_method(StartMethod::Spawn).start().unwrap();
        assert_eq!(
            p.exitcode().or_else(|| p.join().err().and(p.exitcode())),
            Some(-9)
        );
        // What is left: the forked process, and the child, whose far end that holds.
        // All others end, and are ours to collect.
        while !servers().is_empty() || children_of(std::process::id()).len() > 2 {
            let options = rustix::process::WaitOptions::NOHANG;
            for pid in children_of(std::process::id()) {
                let _ =
                    rustix::process::waitpid(rustix::process::Pid::from_raw(pid as i32), options);
            }
            std::thread::yield_now();
        }
        drop(here);
    }
    alone(test);
}

#[test]
fn the_sentinel_is_ready_when_the_status_is() {
    fn test(_: ()) {
        for code in 0..50 {
            let p = forked(|code: i32| std::process::exit(code), code);
            let p: Process<()> = p.unwrap();
            assert_eq!(mp::wait(&[&p.as_fd()], None).unwrap(), [0]);
            assert_eq!(p.exit(), Some(Exit::Code(code)));
        }
    }
    alone(test);
}

#[test]
fn a_tracer_has_the_first_claim_to_a_status() {
    fn test(_: ()) {
        let (p, here) = standing_by();
        let pid = p.pid() as i32;
        // SAFETY: plain numbers.
        if unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, 0, 0) } != 0 {
            let error = std::io::Error::last_os_error();
            eprintln!("SKIPPED: a process cannot be traced here: {error}");
            return;
        }
        here.send(&5).unwrap();
        assert_eq!(mp::wait(&[&p.as_fd()], None).unwrap(), [0]);
        assert_eq!(p.exit(), None);
        let mut status = -1;
        // SAFETY: room for the status of one that this thread traces.
        assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
        assert_eq!(status, 0);
        // Whose turn it is now comes to it in its own time.
        p.join().unwrap();
        assert_eq!(p.exit(), Some(Exit::Code(0)));
    }
    alone(test);
}
