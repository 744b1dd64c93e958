//! The fork server: which one serves, what it does not forget, and for whom. Every test runs in a process of its own, which has a
//! server of its own.

mod code;
mod killed;
mod preload;
mod ready;
mod util;

use allcores::multiprocessing::process::{ForkServerError, ProcessError, StartError};
use allcores::multiprocessing::{
    self as mp, Process, StartMethod, active_children, parent_process,
};

use util::{alone, children_of, forked, kernel_parent, server, servers, standing_by};

#[test]
fn it_is_the_default_and_can_be_chosen_away() {
    fn test(_: ()) {
        let me = std::process::id();
        let parent = |method: Option<StartMethod>| {
            let p = Process::new(kernel_parent, ());
            let p = match method {
                Some(method) => p.start_method(method),
                None => p,
            };
            p.start().unwrap().result().unwrap()
        };
        assert_eq!(mp::start_method(), StartMethod::ForkServer);
        let server_pid = parent(None);
        assert_eq!(server_pid, server());
        assert_eq!(parent(Some(StartMethod::ForkServer)), server_pid);
        assert_eq!(parent(Some(StartMethod::Spawn)), me);
        mp::set_start_method(StartMethod::Spawn);
        assert_eq!(mp::start_method(), StartMethod::Spawn);
        assert_eq!(parent(None), me);
        // The children of this process do as it does.
        let p = Process::new(|()| mp::start_method() == StartMethod::Spawn, ());
        assert!(p.start().unwrap().result().unwrap());
    }
    alone(test);
}

#[test]
fn the_environment_chooses_for_those_who_do_not() {
    fn test(_: ()) {
        let set = |value: &str| {
            // SAFETY: this process has no other thread that reads the environment.
            unsafe { std::env::set_var("ALLCORES_START_METHOD", value) }
        };
        let parent = || Process::new(kernel_parent, ()).start();
        set("spawn");
        assert_eq!(mp::start_method(), StartMethod::Spawn);
        assert_eq!(parent().unwrap().result().unwrap(), std::process::id());
        set("forkserver");
        assert_eq!(parent().unwrap().result().unwrap(), server());
        set("fork");
        match parent() {
            Err(StartError::UnknownMethod { value }) => assert_eq!(value, "fork"),
            other => panic!("{other:?}"),
        }
    }
    alone(test);
}

#[test]
fn a_child_knows_who_started_it_and_can_start_others() {
    fn depth(n: u32) -> Vec<(u32, String)> {
        let parent = parent_process().unwrap();
        let mut line = vec![(parent.pid(), parent.name().to_owned())];
        if n > 0 {
            line.extend(forked(depth, n - 1).unwrap().result().unwrap());
        }
        line.push((std::process::id(), String::new()));
        line
    }
    fn test(_: ()) {
        let p = forked(depth, 1).unwrap();
        let line = p.result().unwrap();
        assert_eq!(line[0].0, std::process::id());
        assert_eq!(line[1].0, p.pid());
        assert_eq!(line[1].1, p.name());
    }
    alone(test);
}

#[test]
fn a_process_that_gives_up_its_rights_gets_children_without_them() {
    fn test(_: ()) {
        let ids = |()| {
            // SAFETY: these take nothing and cannot fail.
            unsafe { (libc::getuid(), libc::geteuid(), libc::getgid()) }
        };
        assert_eq!(forked(ids, ()).unwrap().result().unwrap(), (0, 0, 0));
        let privileged = server();
        // SAFETY: plain calls on this process.
        let dropped = unsafe {
            [
                libc::setgroups(0, std::ptr::null()),
                libc::setresgid(65534, 65534, 65534),
                libc::setresuid(65534, 65534, 65534),
                // Which /proc of such a process is readable again.
                libc::prctl(libc::PR_SET_DUMPABLE, 1),
            ]
        };
        assert_eq!(dropped, [0; 4]);
        match forked(ids, ()) {
            Ok(p) => assert_eq!(p.result().unwrap(), (65534, 65534, 65534)),
            // Not everybody may read this program's file.
            Err(StartError::ForkServer(ForkServerError::Io(error))) => {
                assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
            }
            Err(other) => panic!("{other:?}"),
        }
        while servers().contains(&privileged) {
            active_children();
            std::thread::yield_now();
        }
    }
    // SAFETY: takes nothing and cannot fail.
    if unsafe { libc::getuid() } == 0 {
        alone(test);
    } else {
        println!("only root can give up its rights: nothing to see here");
    }
}

#[test]
fn signals_to_the_whole_group_leave_it_alone() {
    fn test(_: ()) {
        // SAFETY: a plain call on this process.
        unsafe { libc::setpgid(0, 0) };
        let (p, _here) = standing_by();
        let before = server();
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            // SAFETY: to this process's own group: itself, which ignores it, and its children.
            unsafe {
                libc::signal(signal, libc::SIG_IGN);
                libc::kill(0, signal);
            }
        }
        // The child has what is default, and is ended by the first.
        assert!(matches!(p.result(), Err(ProcessError::Signaled { .. })));
        forked(|()| (), ()).unwrap().join().unwrap();
        assert_eq!(server(), before);
    }
    alone(test);
}

#[test]
fn many_threads_may_start_processes_at_once() {
    fn test(_: ()) {
        std::thread::scope(|scope| {
            for n in 0..8u32 {
                scope.spawn(move || {
                    for m in 0..8 {
                        let p = forked(|(n, m): (u32, u32)| n * 10 + m, (n, m)).unwrap();
                        assert_eq!(p.result().unwrap(), n * 10 + m);
                    }
                });
            }
        });
        server();
    }
    alone(test);
}

#[test]
fn a_process_that_is_forked_by_hand_has_a_server_of_its_own() {
    fn test(_: ()) {
        forked(|()| (), ()).unwrap().join().unwrap();
        let ours = server();
        // SAFETY: the child uses this thread only, ends by _exit, and glibc keeps its allocator usable after a fork.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            let parent = forked(kernel_parent, ()).unwrap().result().unwrap();
            let good = parent == server() && parent != ours;
            // SAFETY: leaves without running the parent's exit handlers.
            unsafe { libc::_exit(i32::from(!good)) };
        }
        let mut status = -1;
        // SAFETY: our own child, forked above.
        unsafe { libc::waitpid(pid, &mut status, 0) };
        assert_eq!(status, 0);
        assert_eq!(forked(kernel_parent, ()).unwrap().result().unwrap(), ours);
    }
    alone(test);
}

#[test]
fn one_that_was_killed_while_it_was_ready_is_not_used() {
    fn ready() -> Option<u32> {
        let mut children = children_of(server()).into_iter();
        children.find(|pid| {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            name.trim() == "allcores-zygote"
        })
    }
    fn test(_: ()) {
        let start = || forked(|n: u32| n + 1, 1).unwrap();
        // It is, once two starts follow one another quickly: on a slow machine too, if nothing is waited for in between.
        let pid = loop {
            for p in [start(), start()] {
                assert_eq!(p.result().unwrap(), 2);
            }
            if let Some(pid) = ready() {
                break pid;
            }
        };
        // SAFETY: a child of our server, which has orders from nobody and so ends in no other way.
        assert_eq!(unsafe { libc::kill(pid as i32, libc::SIGKILL) }, 0);
        while ready() == Some(pid) {
            std::thread::yield_now();
        }
        assert_eq!(start().result().unwrap(), 2);
    }
    alone(test);
}

#[test]
fn it_serves_where_session_and_group_lie_outside_the_namespace_of_processes() {
    fn test(_: ()) {
        // SAFETY: has the next child of this process, which has one thread, begin a namespace.
        if unsafe { libc::unshare(libc::CLONE_NEWPID) } != 0 {
            let error = std::io::Error::last_os_error();
            eprintln!("SKIPPED: a namespace of processes cannot be made here: {error}");
            return;
        }
        // SAFETY: the child uses this thread only, ends by _exit, and glibc keeps its allocator usable after a fork.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            // SAFETY: questions without pointers.
            let outside = unsafe { (libc::getsid(0), libc::getpgrp()) };
            let me = std::process::id();
            let by_default = Process::new(kernel_parent, ()).start().unwrap();
            let by_default = by_default.result().unwrap();
            let parent = forked(kernel_parent, ()).unwrap().result().unwrap();
            let good = outside == (0, 0) && me == 1 && parent == by_default && parent != me;
            // SAFETY: leaves without running the parent's exit handlers. It was the first of its namespace, so the server ends too.
            unsafe { libc::_exit(i32::from(!good)) };
        }
        let mut status = -1;
        // SAFETY: our own child, forked above.
        assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
        assert_eq!(status, 0);
    }
    alone(test);
}
