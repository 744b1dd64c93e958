//! How a child comes to its function. A file of its own, for it plays with constructors and with the environment.

use std::ffi::{c_char, c_int};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};

use allcores::multiprocessing::process::{ProcessError, StartError};
use allcores::multiprocessing::{self as mp, Process, StartMethod};

/// Tests that change the environment, or start processes that would see it changed, take turns.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `work` with a variable in the environment.
fn with_variable<T>(name: &str, value: &str, work: impl FnOnce() -> T) -> T {
    // SAFETY: the tests of this file take turns, and no other code of the program reads the environment meanwhile.
    unsafe { std::env::set_var(name, value) };
    let result = work();
    // SAFETY: as above.
    unsafe { std::env::remove_var(name) };
    result
}

static CONSTRUCTED: AtomicU32 = AtomicU32::new(0);
static FIRST_CONSTRUCTED: AtomicU32 = AtomicU32::new(0);
const EXIT_EARLY: &str = "TEST_EXIT_EARLY";

type Constructor = extern "C" fn(c_int, *const *const c_char, *const *const c_char);

#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: Constructor = constructor;

/// Linkers put those with a number first; only std's and ours come before this one.
#[used]
#[unsafe(link_section = ".init_array.00102")]
static FIRST: Constructor = first;

extern "C" fn constructor(argc: c_int, argv: *const *const c_char, _: *const *const c_char) {
    assert!(argc > 0 && !argv.is_null());
    CONSTRUCTED.fetch_add(1, SeqCst);
}

extern "C" fn first(_: c_int, _: *const *const c_char, _: *const *const c_char) {
    FIRST_CONSTRUCTED.fetch_add(1, SeqCst);
    if let Some(code) = std::env::var_os(EXIT_EARLY) {
        std::process::exit(code.to_str().unwrap().parse().unwrap());
    }
}

#[test]
fn the_programs_constructors_have_run_once_before_the_function() {
    let _turn = alone();
    let counts = |()| (CONSTRUCTED.load(SeqCst), FIRST_CONSTRUCTED.load(SeqCst));
    assert_eq!(counts(()), (1, 1));
    let p = Process::new(counts, ()).start().unwrap();
    assert_eq!(p.result().unwrap(), (1, 1));
}

#[test]
fn a_child_that_never_comes_to_its_function_is_an_error_whatever_its_code() {
    let _turn = alone();
    for code in [0, 7] {
        let p = with_variable(EXIT_EARLY, &code.to_string(), || {
            let p = Process::new(|()| (), ()).start_method(StartMethod::Spawn);
            p.start().unwrap()
        });
        match p.result() {
            Err(ProcessError::NeverStarted { code: found, .. }) => assert_eq!(found, code),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_marker_is_gone_and_the_environment_is_the_parents() {
    let _turn = alone();
    let p = with_variable("TEST_VARIABLE", "seen", || {
        let variables = |()| std::env::vars().collect::<Vec<_>>();
        Process::new(variables, ()).start().unwrap()
    });
    let variables = p.result().unwrap();
    assert!(variables.contains(&("TEST_VARIABLE".into(), "seen".into())));
    assert!(
        variables
            .iter()
            .all(|(name, _)| !name.starts_with("ALLCORES") || std::env::var_os(name).is_some()),
        "{variables:?}"
    );
}

#[test]
fn a_stray_marker_changes_nothing_but_forbids_to_start() {
    let _turn = alone();
    for marker in [
        "",
        "nonsense",
        "1:0:1",
        "1:5:1",
        "1:-1:1",
        "1:999999999999:1",
        "2:3:4",
    ] {
        with_variable("ALLCORES_CHILD", marker, || {
            allcores::init();
            match Process::new(|()| (), ()).start() {
                Err(StartError::StillAChild) => {}
                other => panic!("{marker:?}: {other:?}"),
            }
            // A program that finds such a marker in its environment runs as ever.
            let listed = Command::new("/proc/self/exe")
                .args(["--list", "--format=terse"])
                .output()
                .unwrap();
            let listed = String::from_utf8(listed.stdout).unwrap();
            assert!(listed.contains("a_stray_marker"), "{marker:?}: {listed}");
        });
    }
}

#[test]
fn a_marker_that_names_a_foreign_socket_is_not_believed() {
    let _turn = alone();
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    // Inherited, and at its end: a child that took it for its own would see that and exit.
    drop(theirs);
    let number = ours.as_raw_fd();
    rustix::io::fcntl_setfd(&ours, rustix::io::FdFlags::empty()).unwrap();
    for inode in [0, 1, rustix::fs::fstat(&ours).unwrap().st_ino + 1] {
        let listed = Command::new("/proc/self/exe")
            .args(["--list", "--format=terse"])
            .env("ALLCORES_CHILD", format!("1:{number}:{inode}"))
            .output()
            .unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        assert!(listed.contains("a_stray_marker"), "{listed}");
    }
}

#[test]
fn init_does_nothing_in_an_ordinary_process() {
    allcores::init();
    allcores::init();
}

#[test]
fn names_have_at_most_sixteen_kibibytes() {
    let _turn = alone();
    let longest = "n".repeat(16 << 10);
    let inner = |()| {
        let name = "m".repeat(16 << 10);
        let child = Process::new(|()| mp::current_process().name().to_owned(), ()).name(name);
        (
            mp::current_process().name().to_owned(),
            child.start().unwrap().result().unwrap(),
        )
    };
    let child = Process::new(inner, ()).name(longest.clone()).start();
    assert_eq!(
        child.unwrap().result().unwrap(),
        (longest.clone(), "m".repeat(16 << 10))
    );
    for too_long in [(16 << 10) + 1, 10 << 20] {
        match Process::new(|()| (), ()).name("n".repeat(too_long)).start() {
            Err(StartError::NameTooLong { length }) => assert_eq!(length, too_long),
            other => panic!("{:?}", other.map(|p| p.pid())),
        }
    }
}
