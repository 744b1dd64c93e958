//! What a child finds when it begins: signals, streams, descriptors, arguments.

use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};

use allcores::multiprocessing::{Connection, Never, Process, SimplexPipe, StartMethod};
use serde::{Deserialize, Serialize};

use crate::util::METHODS;

#[test]
fn a_child_starts_with_clean_signals() {
    // SAFETY: an initialised set, and this thread's own mask.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, libc::SIGUSR1);
        libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
    }
    let p = Process::new(
        |()| {
            let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
            let field = |name: &str| {
                let line = status.lines().find(|line| line.starts_with(name)).unwrap();
                u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap()
            };
            (field("SigBlk:"), field("SigIgn:"))
        },
        (),
    );
    let (blocked, ignored) = p.start().unwrap().result().unwrap();
    // From 32 on they are libc's own and real-time ones, which a shell may hand down.
    let ordinary = (1 << 31) - 1;
    assert_eq!(blocked, 0);
    assert_eq!(ignored & ordinary, 1 << (libc::SIGPIPE - 1));
}

#[test]
fn a_child_has_arguments_a_main_thread_and_no_descriptors_but_its_own() {
    let (_reader, writer) = SimplexPipe::<u8>().unwrap();
    // Open here, for all to see in vain.
    let stray = std::fs::File::open("/proc/self/exe").unwrap();
    let p = Process::new(
        |_: Connection<u8, Never>| {
            let open: Vec<_> = std::fs::read_dir("/proc/self/fd")
                .unwrap()
                .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
                .map(|target| target.to_string_lossy().into_owned())
                .collect();
            let name = std::thread::current().name().map(str::to_owned);
            (std::env::args().collect::<Vec<_>>(), name, open)
        },
        writer,
    );
    let (arguments, thread, open) = p.start().unwrap().result().unwrap();
    drop(stray);
    assert_eq!(arguments, std::env::args().collect::<Vec<_>>());
    // The first thread, which std has no name for.
    assert_eq!(thread, None);
    let executable = std::env::current_exe()
        .unwrap()
        .to_string_lossy()
        .into_owned();
    assert!(!open.contains(&executable), "{open:?}");
    assert_eq!(
        open.iter()
            .filter(|target| target.contains("socket:"))
            .count(),
        1,
        "{open:?}"
    );
}

#[test]
fn closed_standard_streams_are_no_trap() {
    fn starts_without_streams(_: ()) -> bool {
        for number in 0..=2 {
            // SAFETY: the standard streams of this process, which nothing here uses.
            unsafe { libc::close(number) };
        }
        // The control socket would take the number of a standard stream, and this file in the child as well.
        let opens_a_file = |()| {
            use std::os::fd::AsRawFd;
            std::fs::File::open("/proc/self/exe").unwrap().as_raw_fd() > 2
        };
        Process::new(opens_a_file, ())
            .start()
            .unwrap()
            .result()
            .unwrap()
    }
    let p = Process::new(starts_without_streams, ()).start().unwrap();
    assert!(p.result().unwrap());
}

/// What a process finds around it.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Found {
    directory: PathBuf,
    umask: String,
    cpus: String,
    files: (u64, u64),
    nice: i32,
    group: i32,
    variables: Vec<(String, String)>,
    output: PathBuf,
    input_is_open: bool,
}

fn look_round(_: ()) -> Found {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name));
        line.unwrap()[name.len()..].trim().to_owned()
    };
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let mut variables: Vec<_> = std::env::vars().collect();
    variables.sort();
    Found {
        directory: std::env::current_dir().unwrap(),
        umask: field("Umask:"),
        cpus: field("Cpus_allowed:"),
        files: (files.current.unwrap(), files.maximum.unwrap()),
        nice: rustix::process::getpriority_process(None).unwrap(),
        // SAFETY: a question without pointers.
        group: unsafe { libc::getpgrp() },
        variables,
        output: std::fs::read_link("/proc/self/fd/1").unwrap(),
        // Otherwise it leads nowhere, and is never closed.
        input_is_open: std::fs::read_link("/proc/self/fd/0").unwrap() != Path::new("/dev/null"),
    }
}

/// Changes all of it after a first process has been started, so that no server was started with it.
fn changes_everything(method: StartMethod) -> (Found, Found, Found) {
    let start = || Process::new(look_round, ()).start_method(method).start();
    let before = start().unwrap().result().unwrap();

    std::env::set_current_dir("/").unwrap();
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o027));
    let mut cpus = rustix::thread::sched_getaffinity(None).unwrap();
    let last = (0..1024).rev().find(|cpu| cpus.is_set(*cpu)).unwrap();
    cpus.clear();
    cpus.set(last);
    rustix::thread::sched_setaffinity(None, &cpus).unwrap();
    let mut files = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    files.current = Some(200);
    files.maximum = Some(201);
    rustix::process::setrlimit(rustix::process::Resource::Nofile, files).unwrap();
    rustix::process::nice(3).unwrap();
    rustix::process::setpgid(None, None).unwrap();
    // SAFETY: no other thread of this process reads the environment.
    unsafe {
        std::env::set_var("TEST_ADDED", "a long value ".repeat(4000));
        std::env::remove_var("PATH");
    }
    let file = tempfile();
    // SAFETY: the standard streams of this process, which nothing here uses.
    unsafe {
        libc::dup2(std::os::fd::AsRawFd::as_raw_fd(&file), 1);
        libc::close(0);
    }
    let mine = look_round_without_input();
    let child = start().unwrap().result().unwrap();
    (before, mine, child)
}

/// An open file without a name.
fn tempfile() -> rustix::fd::OwnedFd {
    rustix::fs::memfd_create(c"the-output", rustix::fs::MemfdFlags::CLOEXEC).unwrap()
}

/// As [`look_round`], in a process whose standard input is closed.
fn look_round_without_input() -> Found {
    use rustix::fs::{Mode, OFlags};
    let null = rustix::fs::open(c"/dev/null", OFlags::RDONLY, Mode::empty()).unwrap();
    let found = look_round(());
    drop(null);
    found
}

#[test]
fn a_child_finds_what_its_parent_has_at_that_moment() {
    for method in METHODS {
        let p = Process::new(changes_everything, method).start_method(method);
        let (before, mine, child) = p.start().unwrap().result().unwrap();
        assert_eq!(child, mine, "{method:?}");
        assert!(!child.input_is_open);
        assert_ne!(before.directory, child.directory);
        assert_ne!(before.group, child.group);
        assert_eq!(child.umask, "0027");
        assert_eq!(child.files, (200, 201));
        assert!(child.output.to_string_lossy().contains("the-output"));
        assert_ne!(before.variables, child.variables);
    }
}

#[test]
fn a_directory_that_is_gone_is_no_obstacle() {
    fn starts_nowhere(method: StartMethod) -> bool {
        let here = std::env::temp_dir();
        let here = here.join(format!("allcores-{:x}", RandomState::new().hash_one(0)));
        std::fs::create_dir(&here).unwrap();
        std::env::set_current_dir(&here).unwrap();
        std::fs::remove_dir(&here).unwrap();
        let p = Process::new(|()| std::env::current_dir().is_err(), ());
        p.start_method(method).start().unwrap().result().unwrap()
    }
    for method in METHODS {
        let p = Process::new(starts_nowhere, method).start().unwrap();
        assert!(p.result().unwrap());
    }
}
