//! Processes are killed while they create, attach, send and let go of named SharedMemory: no name is left behind for longer
//! than until the next one creates or attaches, and nobody who lives loses what it holds. And while they make and drop large
//! arrays, whose memory must come zeroed and go back.
//!
//! Seen red: as the controls at the end check, with `ALLCORES_TEST_CARELESS=leave` (nobody sweeps) and `=rob` (whoever lets
//! go takes the name away, as stock Python's attachers do).

mod death;

use std::hash::{BuildHasher, RandomState};
use std::os::fd::AsFd;
use std::process::Command;

use allcores::multiprocessing::{Array, Pipe, SharedMemory, SharedMemoryError};
use allcores::shm;
use death::{
    NOBODY_OWES, Process, Scenario, Seat, Status, Stepped, Storm, Test, children, descriptors, run,
    until,
};

const TESTS: &[Test] = &[
    ("memory_storm", memory_storm),
    ("killed_at_every_system_call", killed_at_every_system_call),
    ("large_array_storm", large_array_storm),
    (
        "large_arrays_made_and_dropped",
        large_arrays_made_and_dropped,
    ),
    ("memory_storm_sees_what_is_left", || {
        control("memory_storm", "leave", "more is left behind");
    }),
    ("memory_storm_sees_who_is_robbed", || {
        control("memory_storm", "rob", "robbed");
    }),
    ("every_system_call_sees_what_is_left", || {
        control(
            "killed_at_every_system_call",
            "leave",
            "more is left behind",
        );
    }),
    ("every_system_call_sees_who_is_robbed", || {
        control("killed_at_every_system_call", "rob", "robbed");
    }),
];

fn main() {
    run(TESTS);
}

/// Where names are, if not in /dev/shm: debug builds only.
const PLACE: &str = "ALLCORES_TEST_SHM";

/// A directory of this test's own, gone with it. Elsewhere others might be clearing away, at the very moment when we look,
/// what one of ours has left.
struct Place(String);

impl Place {
    fn new() -> Place {
        let place = format!(
            "/dev/shm/allcores-storm-{:x}",
            RandomState::new().hash_one(0)
        );
        std::fs::create_dir(&place).unwrap();
        // SAFETY: this process has one thread.
        unsafe { std::env::set_var(PLACE, &place) };
        Place(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The same test, without one of the cares that make it pass, must fail, and for that reason.
#[track_caller]
fn control(test: &str, careless: &str, why: &str) {
    if !cfg!(debug_assertions) {
        eprintln!("only a debug build can be made careless: nothing to see here");
        return;
    }
    let program = std::env::current_exe().expect("this program has a path");
    let run = Command::new(program)
        .args(["--exact", test])
        .env("ALLCORES_TEST_CARELESS", careless)
        .env("ALLCORES_TEST_PATIENCE", "5")
        .output()
        .expect("this program can be run");
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(
        !run.status.success() && said.contains(why),
        "{test} sees nothing amiss without care ({careless}):\n{said}"
    );
}

/// What all names of this test begin with.
fn prefix() -> String {
    // Tests are forked, their workers as well: the group is the test's own.
    // SAFETY: takes nothing.
    format!("allcores-storm-{}-", unsafe { libc::getpgrp() })
}

fn names() -> Vec<String> {
    let place = if cfg!(debug_assertions) {
        std::env::var_os(PLACE)
    } else {
        None
    };
    let place = place.unwrap_or_else(|| "/dev/shm".into());
    let entries = std::fs::read_dir(place).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with(&prefix())).collect()
}

/// Which file it is.
fn identity(memory: &SharedMemory) -> (u64, u64) {
    let stat = rustix::fs::fstat(memory.as_fd()).unwrap();
    (stat.st_dev, stat.st_ino)
}

/// As long as one holds it, its name stands for it.
fn is_whole(memory: &SharedMemory) -> Result<(), String> {
    let name = memory.name().unwrap();
    match SharedMemory::attach(name) {
        Ok(found) if identity(&found) == identity(memory) => Ok(()),
        Ok(_) => Err(format!(
            "robbed: I hold it, and its name stands for another: {name}"
        )),
        Err(error) => Err(format!("robbed: I hold it, and its name is gone: {error}")),
    }
}

/// Whoever comes next takes away what the dead have left.
#[track_caller]
fn only_these_are_left(expected: &[String], what: &str) {
    drop(SharedMemory::create_unique(1).unwrap());
    let mut left = names();
    if !cfg!(debug_assertions) {
        // Others may be at it.
        until("what the dead have left is cleared away", || {
            left = names();
            left == expected
        });
    }
    assert_eq!(left, expected, "{what}: more is left behind");
}

fn memory_storm() {
    let _place = Place::new();
    let kept = SharedMemory::create(&format!("{}kept", prefix()), 4096).unwrap();
    kept.write_at(0, b"kept").unwrap();
    let open = descriptors();
    let work = |seat: &Seat| {
        let turn = seat.token() * 1_000 + seat.beat() % 1_000;
        let check = |memory: &SharedMemory| {
            if let Err(complaint) = is_whole(memory) {
                seat.complain(&complaint);
            }
        };
        // One that others want as well.
        let wanted = format!("{}{}", prefix(), turn % 3);
        let shared = match SharedMemory::create(&wanted, 8192) {
            Err(SharedMemoryError::AlreadyExists { .. }) => SharedMemory::attach(&wanted),
            made => made,
        };
        match shared {
            Ok(memory) => {
                check(&memory);
                seat.dwell();
                check(&memory);
                // It may have been on its way when its last holder closed it.
                let (a, b) = Pipe::<SharedMemory, ()>().unwrap();
                a.send(&memory).unwrap();
                drop(memory);
                match b.recv() {
                    Ok(memory) => check(&memory),
                    Err(error) => seat.complain(&format!("robbed on its way: {error}")),
                }
            }
            Err(SharedMemoryError::NotFound { .. }) => {}
            Err(error) => seat.complain(&error.to_string()),
        }
        // One of its own, which nobody else will ever clear away.
        let own = SharedMemory::create(&format!("{}own-{turn}", prefix()), 100).unwrap();
        let again = own.clone();
        check(&own);
        drop(own);
        match SharedMemory::attach(&format!("{}kept", prefix())) {
            Ok(kept) => check(&kept),
            Err(error) => seat.complain(&format!("robbed of what is kept: {error}")),
        }
        drop(again);
    };
    let storm = Storm::new(4, 1, 400);
    storm.rage(&work, |_| {}, || eprintln!("{:?}", names()));
    is_whole(&kept).unwrap();
    let mut text = [0; 4];
    kept.read_at(0, &mut text).unwrap();
    assert_eq!(&text, b"kept");
    drop(kept);
    only_these_are_left(&[], "in the end");
    assert_eq!(descriptors(), open - 1, "descriptors");
    assert_eq!(children(), "", "children that were not waited for");
}

/// Between two system calls nothing changes that anybody else could see: so a kill at each of them, before it and after, is
/// a kill at every instruction.
fn killed_at_every_system_call() {
    let _place = Place::new();
    let kept = SharedMemory::create(&format!("{}kept", prefix()), 4096).unwrap();
    let name = |what: &str| format!("{}{what}", prefix());
    let operations: [(&str, &dyn Fn()); 5] = [
        ("created and let go", &|| {
            drop(SharedMemory::create(&name("new"), 100).unwrap());
        }),
        ("attached and let go", &|| {
            drop(SharedMemory::attach(&name("kept")).unwrap());
        }),
        ("created and unlinked", &|| {
            SharedMemory::create(&name("new"), 100)
                .unwrap()
                .unlink()
                .unwrap();
        }),
        ("the dead one's swept away", &|| {
            drop(SharedMemory::create_unique(1).unwrap());
        }),
        ("sent to oneself", &|| {
            let (a, b) = Pipe::<SharedMemory, ()>().unwrap();
            let memory = SharedMemory::create(&name("new"), 100).unwrap();
            a.send(&memory).unwrap();
            drop(memory);
            drop(b.recv().unwrap());
        }),
    ];
    for (what, operation) in operations {
        let mut killed = 0;
        loop {
            // For whoever sweeps to find: what one who was killed has left.
            let mut leaver = Process::start(|| {
                std::mem::forget(SharedMemory::create(&name("left"), 10).unwrap());
                // SAFETY: ends at once, as if killed.
                unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
            });
            assert_eq!(leaver.wait(), Status::Killed(libc::SIGKILL));
            let victim = Process::start(|| {
                Stepped::begin();
                operation();
                // SAFETY: says that it is done, by the one signal that nobody else sends.
                unsafe { libc::raise(libc::SIGUSR1) };
            });
            let mut led = Stepped::meet(victim.pid());
            let mut done = false;
            for _ in 0..=killed {
                done = !led.next_system_call();
                if done {
                    break;
                }
            }
            // While it stands still, others go on, and hold what they hold.
            if let Err(robbed) = is_whole(&kept) {
                panic!("{what}: robbed by one stopped at system call {killed}: {robbed}");
            }
            victim.kill();
            if let Err(robbed) = is_whole(&kept) {
                panic!("{what}: robbed by one killed at system call {killed}: {robbed}");
            }
            let point = format!("{what}, killed at system call {killed}");
            only_these_are_left(&[name("kept")], &point);
            if done {
                break;
            }
            killed += 1;
        }
        println!(
            "{what}: killed before and after each of {} system calls",
            killed / 2
        );
        assert!(killed > 10, "{what}: as few system calls as {killed}?");
    }
    drop(kept);
    only_these_are_left(&[], "in the end");
}

/// Elements of an array that has a big cell, with a part of a page at either end.
const LARGE: usize = 20_000;

/// A large array, which comes zeroed, and is whole as long as one has it.
fn use_large(complain: &dyn Fn(&str), token: u64, dwell: &dyn Fn()) {
    let array = Array::<u64>::new(LARGE).unwrap();
    if array.acquire().unwrap().iter().any(|n| *n != 0) {
        complain("a new array is not zero");
    }
    array.acquire().unwrap().fill(token);
    let copy = array.clone();
    drop(array);
    dwell();
    if copy.acquire().unwrap().iter().any(|n| *n != token) {
        complain("somebody has written into an array that is mine");
    }
}

/// What large arrays may leave that nobody has: free cells that their last owner was killed before emptying.
fn cleared() -> u64 {
    shm::settle_the_dead().unwrap();
    // Each takes a free cell and leaves it empty.
    let all: Vec<_> = (0..16).map(|_| Array::<u64>::new(LARGE).unwrap()).collect();
    drop(all);
    shm::resident().unwrap()
}

/// Seen red: `free` that empties nothing; and if `furnish` does not either.
fn large_array_storm() {
    let work = |seat: &Seat| {
        use_large(&|what| seat.complain(what), seat.token(), &|| seat.dwell());
    };
    let rage =
        |rounds| Storm::new(4, 2, rounds).rage(&work, |_| {}, || eprintln!("{:?}", shm::usage()));
    let empty = shm::resident().unwrap();
    // So many arrays, processes and threads take some memory, once; not that of the arrays.
    let first = cleared();
    assert!(first < empty + 1024 * 1024, "{first} bytes of {empty}");
    rage(40);
    let before = cleared();
    rage(200);
    let after = cleared();
    assert!(
        after <= before + 64 * 1024,
        "{after} bytes of memory are left of {before}"
    );
}

fn large_arrays_made_and_dropped() {
    let make = || use_large(&|what| panic!("{what}"), 7, &|| {});
    make();
    let before = cleared();
    Scenario {
        name: "large arrays, made and dropped",
        before: &make,
        operation: &|| drop(Array::<u64>::new(LARGE).unwrap()),
        wait: &make,
        waiters_first: false,
        unblock: None,
        make_up: NOBODY_OWES,
        check: &|| {
            let after = cleared();
            assert!(
                after <= before + 64 * 1024,
                "{after} bytes of memory are left of {before}"
            );
        },
    }
    .play(100);
}
