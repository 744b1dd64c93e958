//! What it loads before it forks.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use allcores::multiprocessing::process::{Exit, ForkServerError, StartError};
use allcores::multiprocessing::{
    self as mp, Lock, Process, StartMethod, active_children, parent_process,
};

use crate::util::{alone, forked, kill, server, servers};

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
                assert!(location.unwrap().file.ends_with("forkserver/preload.rs"));
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
        .args([
            "--exact",
            "preload::preload_may_use_much_but_start_no_process",
        ])
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
