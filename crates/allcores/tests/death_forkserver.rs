//! The fork server, its children and the process that it serves, killed at random instants and at every instruction: nobody
//! waits in vain, nothing runs twice, and nobody and nothing is left behind.
//!
//! Seen red: with `ALLCORES_TEST_DEAF=1` the server does not hear of the end of its process, as the control checks; and with
//! a server that does not watch that end but its socket's only; with orders sent along with the request (a start that is
//! tried again runs twice); with a start that waits for the server's word alone (a child holds the socket open).

#![allow(
    clippy::disallowed_methods,
    reason = "the tests find and kill processes by system calls of their own"
)]

mod death;

use std::collections::HashSet;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering::*};

use allcores::multiprocessing::process::{ForkServerError, ProcessError, StartError};
use allcores::multiprocessing::{Connection, Never, Pipe, Process as Child, StartMethod};
use death::{
    Gate, Process, Random, Stepped, Stop, Test, children, control, descriptors, number_from_env,
    page, run, until,
};

const TESTS: &[Test] = &[
    ("everybody_is_killed", everybody_is_killed),
    (
        "the_caller_is_killed_in_a_start",
        the_caller_is_killed_in_a_start,
    ),
    (
        "the_caller_is_killed_in_its_first_start",
        the_caller_is_killed_in_its_first_start,
    ),
    (
        "the_server_is_killed_while_it_forks",
        the_server_is_killed_while_it_forks,
    ),
    (
        "the_child_is_killed_while_it_begins",
        the_child_is_killed_while_it_begins,
    ),
    ("everybody_sees_what_is_left", || {
        control("everybody_is_killed")
    }),
    ("the_caller_sees_what_is_left", || {
        control("the_caller_is_killed_in_a_start")
    }),
];

fn main() {
    run(TESTS);
}

/// What the processes of a storm share.
struct Table {
    /// Starts that have come to an end, whichever.
    done: AtomicU32,
    /// Those that ended by a signal, that left no status, and that could not be started for two deaths of the server.
    signaled: AtomicU32,
    lost: AtomicU32,
    unlucky: AtomicU32,
}

/// Orphans of this process's descendants become its own children.
fn adopt_orphans() {
    // SAFETY: a plain call on this process.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) }, 0);
}

/// Collects a child that has ended, this one or any (-1): they are orphans that nobody knows of. False if there is none.
fn collect(pid: i32) -> bool {
    let mut status = 0;
    // SAFETY: room for the status; a child of ours that only we collect.
    let pid = unsafe { libc::waitpid(pid, &mut status, libc::WNOHANG) };
    if pid > 0 && libc::WIFSTOPPED(status) {
        // One that a server forked while it was led, and was ended before it could tell: it is led as well, stands at its
        // first instruction, and has to come to its end by itself.
        // SAFETY: plain numbers; it is stopped.
        unsafe { libc::ptrace(libc::PTRACE_DETACH, pid, 0, 0) };
    }
    pid > 0
}

/// Collects what has ended until nobody is left.
fn nobody_is_left() {
    until("nothing is left of a killed process", || {
        while collect(-1) {}
        children().is_empty()
    });
}

/// Collects those of our children that have ended, but this one.
fn collect_all_but(one: i32) {
    for pid in list_of_children(std::process::id() as i32) {
        if pid != one {
            collect(pid);
        }
    }
}

fn list_of_children(pid: i32) -> Vec<i32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let of_main = text.unwrap_or_default();
    let mut all: Vec<i32> = of_main
        .split_whitespace()
        .map(|pid| pid.parse().unwrap())
        .collect();
    // Those of other threads, where there are any.
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten()
    {
        if task.file_name().to_str() != Some(&pid.to_string()) {
            let text = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
            all.extend(
                text.split_whitespace()
                    .map(|pid| pid.parse::<i32>().unwrap()),
            );
        }
    }
    all
}

/// Kills the process with this number, if it is a child of `parent` still: a number that was given away again is nobody's
/// business here.
fn strike(pid: i32, parent: i32) -> bool {
    // SAFETY: plain calls; the descriptor is ours.
    unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, pid, 0) as i32;
        if fd < 0 {
            return false;
        }
        let fd = OwnedFd::from_raw_fd(fd);
        list_of_children(parent).contains(&pid)
            && libc::syscall(
                libc::SYS_pidfd_send_signal,
                fd.as_raw_fd(),
                libc::SIGKILL,
                0,
                0,
            ) == 0
    }
}

fn forked<A, R>(function: impl Fn(A) -> R + Copy + Send + 'static, arguments: A) -> Option<Child<R>>
where
    A: serde::Serialize + serde::de::DeserializeOwned,
    R: serde::Serialize + serde::de::DeserializeOwned,
{
    let child = Child::new(function, arguments).start_method(StartMethod::ForkServer);
    match child.start() {
        Ok(child) => Some(child),
        Err(StartError::ForkServer(ForkServerError::Lost)) => None,
        Err(other) => panic!("{other:?}"),
    }
}

/// Runs until its parent is gone, one way or another.
fn waits_for_the_end(end: Connection<u8, Never>) {
    let _keeps_it_open = end;
    loop {
        std::thread::park();
    }
}

fn counts((n, end): (u32, Connection<u32, Never>)) -> u32 {
    // Once for each time that it runs. Whoever started it may be gone.
    let _ = end.send(&n);
    n + 1
}

/// Starts processes until it is killed, and looks whether each has one outcome that makes sense.
fn starts_processes(table: &Table) {
    let mut n = 0;
    // Runs as long as this one does. Two servers may be killed while it starts.
    let _daemon = loop {
        let (far, _near) = Pipe::<u8, Never>().unwrap();
        let daemon = Child::new(waits_for_the_end, far).daemon(true);
        match daemon.start_method(StartMethod::ForkServer).start() {
            Ok(daemon) => break daemon,
            Err(StartError::ForkServer(ForkServerError::Lost)) => {}
            Err(other) => panic!("{other:?}"),
        }
    };
    let mut open = 0;
    loop {
        n += 1;
        let (there, here) = Pipe::<u32, Never>().unwrap();
        match forked(counts, (n, there)) {
            None => _ = table.unlucky.fetch_add(1, SeqCst),
            Some(p) => match p.result() {
                Ok(result) => assert_eq!(result, n + 1),
                Err(ProcessError::Signaled { signal, .. }) => {
                    assert_eq!(signal, libc::SIGKILL);
                    table.signaled.fetch_add(1, SeqCst);
                }
                Err(ProcessError::StatusLost { .. }) => _ = table.lost.fetch_add(1, SeqCst),
                Err(other) => panic!("{other:?}"),
            },
        }
        // What ran, ran once, and what was given up never will.
        let mut runs = 0;
        while let Ok(ran) = here.recv() {
            assert_eq!(ran, n);
            runs += 1;
        }
        assert!(runs <= 1, "{n} ran {runs} times");
        if n == 20 {
            open = descriptors();
        } else if n > 20 && n.is_multiple_of(64) {
            let now = descriptors();
            assert!(now <= open + 2, "{open} descriptors, then {now}");
        }
        table.done.fetch_add(1, SeqCst);
    }
}

fn everybody_is_killed() {
    adopt_orphans();
    let before = descriptors();
    // SAFETY: atomics, for which zeroes are valid.
    let table = unsafe { page::<Table>() };
    let mut random = Random::new();
    let rounds = number_from_env("ALLCORES_STORM_ROUNDS").unwrap_or(400);
    let (mut servers, mut kids, mut callers) = (0, 0, 0);
    let mut seen = HashSet::new();
    let mut caller = Process::start(|| starts_processes(table));
    for _ in 0..rounds {
        random.dawdle(700);
        let done = table.done.load(SeqCst);
        let server = list_of_children(caller.pid()).first().copied();
        match (random.below(10), server) {
            (0..5, Some(server)) => servers += i32::from(strike(server, caller.pid())),
            (5..8, Some(server)) => {
                let kid = list_of_children(server).last().copied();
                kids += i32::from(kid.is_some_and(|kid| strike(kid, server)));
            }
            _ => {
                caller.strike();
                caller.wait();
                callers += 1;
                nobody_is_left();
                caller = Process::start(|| starts_processes(table));
            }
        }
        seen.extend(server);
        if random.below(3) == 0 {
            until("the storm goes on", || {
                assert_eq!(caller.try_wait(), None, "the caller found something amiss");
                table.done.load(SeqCst) >= done + 2
            });
        }
    }
    caller.kill();
    nobody_is_left();
    assert_eq!(descriptors(), before);
    println!(
        "killed {servers} servers of {}, {kids} children, {callers} callers; {} starts, {} ended by a signal, {} lost, {} not started",
        seen.len(),
        table.done.load(SeqCst),
        table.signaled.load(SeqCst),
        table.lost.load(SeqCst),
        table.unlucky.load(SeqCst),
    );
    assert!(servers > 0 && callers > 0);
}

/// Leads a process that starts another one from system call to system call, and kills it at each border.
fn caller_killed(first: bool) {
    adopt_orphans();
    let before = descriptors();
    // SAFETY: an atomic.
    let over = unsafe { page::<AtomicU32>() };
    let once = |limit: u64| {
        over.store(0, SeqCst);
        let caller = Process::start(|| {
            if !first {
                forked(|n: u32| n, 1).unwrap().join().unwrap();
            }
            let (far, _near) = Pipe::<u8, Never>().unwrap();
            let daemon = Child::new(waits_for_the_end, far).daemon(true);
            let daemon = daemon.start_method(StartMethod::ForkServer);
            Stepped::begin();
            let _daemon = daemon.start().unwrap();
            over.store(1, SeqCst);
            loop {
                // SAFETY: waits to be killed.
                unsafe { libc::pause() };
            }
        });
        let mut led = Stepped::meet(caller.pid());
        while led.steps < limit && over.load(SeqCst) == 0 {
            assert!(
                matches!(led.call(), Stop::Call),
                "the caller ended by itself"
            );
        }
        caller.kill();
        nobody_is_left();
        led.steps
    };
    let length = once(u64::MAX);
    (1..length).for_each(|limit| _ = once(limit));
    println!("killed at the {length} borders of its system calls");
    assert_eq!(descriptors(), before);
}

fn the_caller_is_killed_in_a_start() {
    caller_killed(false);
}

fn the_caller_is_killed_in_its_first_start() {
    caller_killed(true);
}

/// Who is led from system call to system call, and killed.
#[derive(Clone, Copy, PartialEq)]
enum Victim {
    Server,
    Kid,
}

/// A process that starts another one while the server, or the new one, is killed: what it is told makes sense.
fn others_killed(victim: Victim) {
    adopt_orphans();
    let before = descriptors();
    // SAFETY: an atomic.
    let gate = unsafe { page::<Gate>() };
    let once = |limit: u64| {
        gate.set(0);
        let mut caller = Process::start(|| {
            forked(|n: u32| n, 1).unwrap().join().unwrap();
            gate.set(1);
            gate.wait(2);
            let (there, here) = Pipe::<u32, Never>().unwrap();
            let p = forked(counts, (7, there)).expect("one death is no reason to give up");
            let killed = match p.result() {
                Ok(8) => false,
                Err(ProcessError::Signaled {
                    signal: libc::SIGKILL,
                    ..
                }) => true,
                other => panic!("{other:?}"),
            };
            let mut runs = 0;
            while here.recv().is_ok() {
                runs += 1;
            }
            assert!(runs == 1 || runs == 0 && killed, "it ran {runs} times");
        });
        gate.wait(1);
        let [server] = list_of_children(caller.pid())[..] else {
            panic!("there is one server");
        };
        let tasks = std::fs::read_dir(format!("/proc/{server}/task")).unwrap();
        assert_eq!(tasks.count(), 1, "a server has one thread");
        let mut led = Stepped::seize(server);
        gate.set(2);
        let (mut ended, mut kid_is_led) = (false, false);
        let mut steps = 0;
        while steps < limit && !ended {
            match led.call() {
                Stop::Call => steps += u64::from(victim == Victim::Server),
                Stop::Forked(new) if victim == Victim::Server => new.let_go(),
                Stop::Forked(new) => {
                    std::mem::replace(&mut led, new).let_go();
                    kid_is_led = true;
                }
                Stop::Ended => ended = true,
            }
            steps += u64::from(victim == Victim::Kid && kid_is_led);
        }
        if !ended {
            led.kill();
        }
        // The orphans of a killed server are ours, and nobody knows how they ended before we have looked.
        until("the caller has its outcome", || {
            collect_all_but(caller.pid());
            caller.try_wait().is_some()
        });
        caller.succeeds();
        nobody_is_left();
        steps
    };
    let length = once(u64::MAX);
    (1..length).for_each(|limit| _ = once(limit));
    println!("killed at the {length} borders of its system calls");
    assert_eq!(descriptors(), before);
}

fn the_server_is_killed_while_it_forks() {
    others_killed(Victim::Server);
}

fn the_child_is_killed_while_it_begins() {
    others_killed(Victim::Kid);
}
