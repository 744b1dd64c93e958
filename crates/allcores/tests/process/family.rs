//! Parents, children, and what each knows of the other; daemons.

use std::time::Duration;

use allcores::multiprocessing::{Connection, Pipe, Process, current_process, parent_process};
use serde::{Deserialize, Serialize};

#[test]
fn names_are_given_or_counted() {
    let me = |()| current_process().name().to_owned();
    let p = Process::new(me, ()).name("given").start().unwrap();
    assert_eq!(p.name(), "given");
    assert_eq!(p.result().unwrap(), "given");
    let p = Process::new(me, ()).start().unwrap();
    let name = p.name().to_owned();
    assert!(name.starts_with("Process-"), "{name}");
    assert_eq!(p.result().unwrap(), name);
    assert_eq!(current_process().name(), "MainProcess");
    assert_eq!(current_process().pid(), std::process::id());
}

#[test]
fn processes_have_processes() {
    fn depth(n: u32) -> String {
        if n == 0 {
            return current_process().name().to_owned();
        }
        Process::new(depth, n - 1)
            .start()
            .unwrap()
            .result()
            .unwrap()
    }
    let p = Process::new(depth, 2).start().unwrap();
    let name = p.name().to_owned();
    assert_eq!(p.result().unwrap(), format!("{name}:1:1"));
}

#[test]
fn a_child_knows_its_parent() {
    let p = Process::new(
        |()| {
            let parent = parent_process().unwrap();
            let waited = parent.join_timeout(Duration::from_millis(1)).unwrap();
            (
                parent.pid(),
                parent.name().to_owned(),
                parent.is_alive(),
                waited,
            )
        },
        (),
    );
    let told = p.start().unwrap().result().unwrap();
    assert_eq!(
        told,
        (std::process::id(), "MainProcess".into(), true, false)
    );
}

#[test]
fn an_orphan_sees_its_parents_end() {
    /// Starts a process that waits for the end of this one, and does not wait for it.
    fn middle(end: Connection<bool, u8>) {
        Process::new(
            |end: Connection<bool, u8>| {
                let parent = parent_process().unwrap();
                end.send(&parent.is_alive()).unwrap();
                parent.join().unwrap();
                end.send(&parent.is_alive()).unwrap();
            },
            end,
        )
        .start()
        .unwrap();
        std::thread::park();
    }
    let (there, here) = Pipe().unwrap();
    let p = Process::new(middle, there).start().unwrap();
    assert!(here.recv().unwrap());
    p.kill().unwrap();
    assert!(!here.recv().unwrap());
}

#[derive(Clone, Copy, Serialize, Deserialize)]
enum HowToEnd {
    BeKilled,
    Return,
    ExitAtOnce,
}

/// Starts a grandchild that stands by for ever, and ends as told.
fn parent_of_one((how, daemon, end): (HowToEnd, bool, Connection<u8, u8>)) {
    let (ours, theirs) = Pipe::<(), ()>().unwrap();
    let grandchild = Process::new(
        |(end, up): (Connection<u8, u8>, Connection<(), ()>)| {
            // Its parent may be gone by now.
            let _ = up.send(&());
            drop(up);
            while let Ok(n) = end.recv() {
                end.send(&(n + 1)).unwrap();
            }
        },
        (end, theirs),
    );
    let _grandchild = grandchild.daemon(daemon).start().unwrap();
    if let HowToEnd::ExitAtOnce = how {
        std::process::exit(0);
    }
    ours.recv().unwrap();
    if let HowToEnd::BeKilled = how {
        let killed =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        killed.unwrap();
    }
}

#[test]
fn a_daemon_ends_however_its_parent_ends() {
    for how in [HowToEnd::BeKilled, HowToEnd::Return, HowToEnd::ExitAtOnce] {
        for _ in 0..3 {
            let (there, here) = Pipe::<u8, u8>().unwrap();
            let p = Process::new(parent_of_one, (how, true, there))
                .start()
                .unwrap();
            let _ = p.result();
            // The grandchild alone holds the far end now, and waits for us: the stream ends when it does.
            assert!(here.recv().is_err());
        }
    }
}

#[test]
fn one_that_is_no_daemon_goes_on() {
    for how in [HowToEnd::BeKilled, HowToEnd::Return] {
        let (there, here) = Pipe::<u8, u8>().unwrap();
        let p = Process::new(parent_of_one, (how, false, there))
            .start()
            .unwrap();
        let _ = p.result();
        here.send(&1).unwrap();
        assert_eq!(here.recv().unwrap(), 2);
    }
}

#[test]
fn the_children_of_a_daemon_are_daemons() {
    let p = Process::new(
        |()| {
            let grandchild = Process::new(|()| current_process().daemon(), ())
                .start()
                .unwrap();
            (
                current_process().daemon(),
                grandchild.daemon(),
                grandchild.result().unwrap(),
            )
        },
        (),
    );
    let p = p.daemon(true).start().unwrap();
    assert!(p.daemon());
    assert_eq!(p.result().unwrap(), (true, true, true));
    let p = Process::new(|()| current_process().daemon(), ())
        .start()
        .unwrap();
    assert!(!p.result().unwrap());
}
