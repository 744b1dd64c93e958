//! Nothing is left of a process: no zombie, no descriptor, no shared memory. A file of its own, since these belong to the whole process, and
//! its one test is alone in it.

use allcores::multiprocessing::{Connection, Lock, Pipe, Process, wait};
use allcores::shm::usage;

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Children of this process in the process table, zombies among them.
fn children() -> usize {
    let mut count = 0;
    for thread in std::fs::read_dir("/proc/self/task").unwrap() {
        let path = thread.unwrap().path().join("children");
        let list = std::fs::read_to_string(path).unwrap_or_default();
        count += list.split_whitespace().count();
    }
    count
}

/// Starts a process that uses shared memory and ends in one of several ways, and lets go of it in one of several ways.
fn one_process(n: u32, total: &Lock<u64>) {
    let (there, here) = Pipe::<u32, ()>().unwrap();
    let process = Process::new(
        |(n, end, total): (u32, Connection<u32, ()>, Lock<u64>)| {
            let private = Lock::new(n).unwrap();
            *total.acquire().unwrap() += u64::from(*private.acquire().unwrap());
            end.send(&n).unwrap();
            if n % 3 == 1 {
                std::process::exit(1);
            }
            "x".repeat(n as usize % 200 * 400)
        },
        (n, there, total.clone()),
    );
    let process = process.start().unwrap();
    assert_eq!(here.recv().unwrap(), n);
    match n % 5 {
        0 | 1 => assert_eq!(process.join().is_ok(), n % 3 != 1),
        2 => drop(wait(&[&process], None).unwrap()),
        3 => process.kill().unwrap(),
        _ => {}
    }
}

/// Until all have been reaped, those that nobody joined too.
fn settle() {
    while children() != 0 {
        std::thread::yield_now();
    }
    // What the dead held in the arena is let go of when there is reason to look; a child that is joined is one.
    Process::new(|()| (), ()).start().unwrap().join().unwrap();
}

#[test]
fn a_thousand_processes_leave_what_a_hundred_leave() {
    let total = Lock::new(0).unwrap();
    (0..100).for_each(|n| one_process(n, &total));
    settle();
    let (memory, descriptors) = (usage().unwrap(), open_descriptors());
    (100..1000).for_each(|n| one_process(n, &total));
    settle();
    assert_eq!(usage().unwrap(), memory);
    // The reaper closes a descriptor just after it has reaped: the count comes down, or this never ends.
    while open_descriptors() > descriptors {
        std::thread::yield_now();
    }
    assert_eq!(*total.acquire().unwrap(), (0..1000).sum::<u64>());
}
