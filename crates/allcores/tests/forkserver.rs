//! The fork server: what it loads before it forks, what it does not forget, and what becomes of children when it is killed.
//! Every test runs in a process of its own, which has a server of its own.

use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use allcores::multiprocessing::process::{Exit, ForkServerError, ProcessError, StartError};
use allcores::multiprocessing::{
    self as mp, Connection, Lock, Pipe, Process, StartMethod, active_children, parent_process,
};

/// Runs a test in a process without a server.
fn alone<F: Fn(()) + Copy + Send + 'static>(test: F) {
    let p = Process::new(
        move |()| {
            // SAFETY: this process has one thread that looks at the environment.
            unsafe { std::env::remove_var("ALLCORES_START_METHOD") };
            test(());
        },
        (),
    );
    let p = p.start_method(StartMethod::Spawn);
    p.start().unwrap().join().unwrap();
}

fn children_of(pid: u32) -> Vec<u32> {
    let mut children = Vec::new();
    let threads = std::fs::read_dir(format!("/proc/{pid}/task"));
    for thread in threads.into_iter().flatten().flatten() {
        let list = std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        children.extend(
            list.split_whitespace()
                .map(|pid| pid.parse::<u32>().unwrap()),
        );
    }
    children
}

/// The servers of this process, those that have ended and are not collected among them.
fn servers() -> Vec<u32> {
    let mut children = children_of(std::process::id());
    children.retain(|pid| {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        name.trim() == "allcores-zygote"
    });
    children
}

/// The one that serves this process. Others may be ending.
fn server() -> u32 {
    loop {
        // Collects those that have ended.
        active_children();
        match servers()[..] {
            [server] => return server,
            [] => panic!("there is none"),
            _ => std::thread::yield_now(),
        }
    }
}

fn kill(pid: u32) {
    // SAFETY: a child of this process that it has not collected: the number is its own.
    assert_eq!(unsafe { libc::kill(pid as i32, libc::SIGKILL) }, 0);
}

/// By the server, or it is an error.
fn forked<F, A, R>(function: F, arguments: A) -> Result<Process<R>, StartError>
where
    F: Fn(A) -> R + Copy + Send + 'static,
    A: serde::Serialize + serde::de::DeserializeOwned,
    R: serde::Serialize + serde::de::DeserializeOwned,
{
    let p = Process::new(function, arguments);
    p.start_method(StartMethod::ForkServer).start()
}

fn ask(end: Connection<u8, u8>) -> u8 {
    end.send(&0).unwrap();
    end.recv().unwrap()
}

fn standing_by() -> (Process<u8>, Connection<u8, u8>) {
    let (there, here) = Pipe().unwrap();
    let p = forked(ask, there).unwrap();
    assert_eq!(here.recv().unwrap(), 0);
    (p, here)
}

/// Who the kernel says the parent of this process is.
fn kernel_parent(_: ()) -> u32 {
    // SAFETY: takes nothing and cannot fail.
    (unsafe { libc::getppid() }) as u32
}

/// Whether the server itself has to tell how its children ended.
fn server_tells() -> bool {
    std::env::var_os("ALLCORES_NO_PIDFD_INFO").is_some()
}

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

static LOADED: AtomicU32 = AtomicU32::new(0);

fn load() {
    LOADED.fetch_add(1, SeqCst);
    LOADED.fetch_add(std::process::id() << 1, SeqCst);
}

#[test]
fn preload_runs_once_in_the_server_and_all_children_have_what_it_left() {
    fn test(_: ()) {
        let loaded = |()| LOADED.load(SeqCst);
        // One that runs already is replaced.
        assert_eq!(forked(loaded, ()).unwrap().result().unwrap(), 0);
        let without = server();
        mp::set_forkserver_preload(load).unwrap();
        let first = forked(loaded, ()).unwrap().result().unwrap();
        assert_ne!(server(), without);
        assert_eq!(first, 1 + (server() << 1));
        assert_eq!(forked(loaded, ()).unwrap().result().unwrap(), first);
        // Another one after a death has been through it too.
        kill(server());
        // Two that were ready, perhaps.
        for _ in 0..2 {
            forked(loaded, ()).unwrap().join().unwrap();
        }
        let again = forked(loaded, ()).unwrap().result().unwrap();
        assert_eq!(again, 1 + (server() << 1));
        assert_eq!(LOADED.load(SeqCst), 0);
    }
    alone(test);
}

#[test]
fn preload_that_goes_wrong_is_an_error_that_says_how() {
    fn starts() -> (StartError, StartError) {
        // Nobody falls back to a process that lacks what was to be loaded.
        let chosen = forked(|()| (), ()).unwrap_err();
        let default = Process::new(|()| (), ()).start().unwrap_err();
        (chosen, default)
    }
    fn panics() {
        panic!("nothing to load");
    }
    fn leaves_a_thread() {
        std::thread::spawn(|| {
            loop {
                std::thread::park();
            }
        });
    }
    fn exits() {
        std::process::exit(3);
    }
    fn test(_: ()) {
        mp::set_forkserver_preload(panics).unwrap();
        match starts() {
            (
                StartError::ForkServer(ForkServerError::PreloadPanicked { message, location }),
                StartError::ForkServer(ForkServerError::PreloadPanicked { .. }),
            ) => {
                assert_eq!(message, "nothing to load");
                assert!(location.unwrap().file.ends_with("forkserver.rs"));
            }
            other => panic!("{other:?}"),
        }
        mp::set_forkserver_preload(leaves_a_thread).unwrap();
        match starts() {
            (
                StartError::ForkServer(ForkServerError::Threads { more, by_preload }),
                StartError::ForkServer(ForkServerError::Threads { .. }),
            ) => assert_eq!((more, by_preload), (1, true)),
            other => panic!("{other:?}"),
        }
        mp::set_forkserver_preload(exits).unwrap();
        match starts() {
            (
                StartError::ForkServer(ForkServerError::Ended { exit }),
                StartError::ForkServer(ForkServerError::Ended { .. }),
            ) => assert_eq!(exit, Exit::Code(3)),
            other => panic!("{other:?}"),
        }
        // Nothing is left of all these, and a sound function is as good as ever.
        assert_eq!(servers(), [0; 0]);
        assert!(active_children().is_empty());
        mp::set_forkserver_preload(load).unwrap();
        forked(|()| (), ()).unwrap().join().unwrap();
        // Spawned processes never cared.
        let p = Process::new(|()| LOADED.load(SeqCst), ()).start_method(StartMethod::Spawn);
        assert_eq!(p.start().unwrap().result().unwrap(), 0);
    }
    alone(test);
}

/// What starting a process came to in the server.
static REFUSED: AtomicU32 = AtomicU32::new(0);

#[test]
fn preload_may_use_much_but_start_no_process() {
    static HANDLER: AtomicU32 = AtomicU32::new(0);
    extern "C" fn handler(_: i32) {
        HANDLER.store(1, SeqCst);
    }
    fn preload() {
        let refused = Process::new(|()| (), ()).start();
        let refused = matches!(refused, Err(StartError::InPreload));
        REFUSED.store(u32::from(refused), SeqCst);
        assert_eq!(mp::current_process().name(), "MainProcess");
        assert!(parent_process().is_none());
        // Threads that are joined are no obstacle.
        std::thread::spawn(|| ()).join().unwrap();
        // Without the end of a line, so that it would stay in a buffer and be printed by every child.
        print!("preloaded");
        // SAFETY: the handler stores a number.
        unsafe { libc::signal(libc::SIGUSR1, handler as extern "C" fn(i32) as usize) };
    }
    fn test(_: ()) {
        mp::set_forkserver_preload(preload).unwrap();
        let found = |()| {
            let name = mp::current_process().name().to_owned();
            // SAFETY: a question.
            let action = unsafe {
                let mut action = std::mem::zeroed::<libc::sigaction>();
                libc::sigaction(libc::SIGUSR1, std::ptr::null(), &mut action);
                action.sa_sigaction
            };
            (REFUSED.load(SeqCst), name, action == libc::SIG_DFL)
        };
        for _ in 0..3 {
            let p = forked(found, ()).unwrap();
            assert_eq!(p.result().unwrap(), (1, p.name().to_owned(), true));
        }
    }
    if std::env::var_os("TEST_PRINTS").is_some() {
        return alone(test);
    }
    let run = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "preload_may_use_much_but_start_no_process"])
        .env("TEST_PRINTS", "1")
        .args(["--nocapture", "--test-threads=1"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{said}");
    assert_eq!(said.matches("preloaded").count(), 1, "{said}");
}

#[test]
fn preload_may_make_primitives_that_all_children_share() {
    static TOTAL: std::sync::OnceLock<Lock<u64>> = std::sync::OnceLock::new();
    fn preload() {
        TOTAL.set(Lock::new(0).unwrap()).ok().unwrap();
        *TOTAL.get().unwrap().acquire().unwrap() += 1;
    }
    fn add(mine: Lock<u64>) -> u64 {
        let mut total = TOTAL.get().unwrap().acquire().unwrap();
        *total += 1;
        *mine.acquire().unwrap() += *total;
        *total
    }
    fn test(_: ()) {
        mp::set_forkserver_preload(preload).unwrap();
        let mine = Lock::new(0).unwrap();
        for n in 2..6 {
            let p = forked(add, mine.clone()).unwrap();
            assert_eq!(p.result().unwrap(), n);
        }
        assert_eq!(*mine.acquire().unwrap(), 2 + 3 + 4 + 5);
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

/// Whether a fork server can have its code in large pieces, as far as the system goes: without a word from the product.
fn gives_large_pieces(length: usize) -> bool {
    /// `MADV_COLLAPSE`, since Linux 6.1.
    const COLLAPSE: i32 = 25;
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let free = status.lines().any(|line| line == "Seccomp:\t0");
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let writable = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: new memory, which is written to within its bounds, advised on, and given back.
    unsafe {
        let memory = libc::mmap(std::ptr::null_mut(), length, writable, flags, -1, 0);
        assert_ne!(memory, libc::MAP_FAILED);
        let start = memory.align_offset(2 << 20);
        let (memory_inside, inside) = (memory.byte_add(start), length - (2 << 20));
        let given = libc::madvise(memory_inside, inside, libc::MADV_HUGEPAGE) == 0 && {
            memory_inside.cast::<u8>().write_bytes(1, inside);
            libc::madvise(memory_inside, inside, COLLAPSE) == 0
                && libc::mprotect(memory_inside, inside, libc::PROT_READ | libc::PROT_EXEC) == 0
        };
        libc::munmap(memory, length);
        cfg!(target_arch = "x86_64") && free && given
    }
}

#[test]
fn children_find_their_code_in_large_pieces_and_panic_as_ever() {
    /// Whether the code of this function is mapped from a file.
    fn is_from_file(_: ()) -> bool {
        let here = is_from_file as *const () as usize;
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let line = maps.lines().find(|line| {
            let (start, rest) = line.split_once('-').unwrap();
            let end = rest.split_once(' ').unwrap().0;
            let [start, end] = [start, end].map(|at| usize::from_str_radix(at, 16).unwrap());
            (start..end).contains(&here)
        });
        line.unwrap().contains('/')
    }
    fn test(_: ()) {
        let start = || forked(is_from_file, ()).unwrap().result().unwrap();
        assert!(start(), "the first ones have no time for that");
        // More of them than the code takes, so that some are left when the server's turn comes.
        if gives_large_pieces(16 << 20) {
            assert!((0..10).any(|_| !start()), "the code lies where it lay");
        } else {
            eprintln!("SKIPPED in part: this system gives no large pieces of memory for code");
        }
        let p: Process<()> = forked(|word: String| panic!("{word}"), "alas".into()).unwrap();
        match p.result().unwrap_err() {
            ProcessError::Panicked {
                message, location, ..
            } => {
                assert_eq!(message, "alas");
                assert!(location.unwrap().file.ends_with("forkserver.rs"));
            }
            other => panic!("{other:?}"),
        }
        // SAFETY: this process has no other thread that looks at the environment.
        unsafe { std::env::set_var("ALLCORES_NO_LARGE_CODE", "1") };
        mp::set_forkserver_preload(|| ()).unwrap();
        assert!((0..10).all(|_| start()), "it was to stay where it is");
    }
    alone(test);
}
