//! Nothing is left of a process: no zombie, no descriptor, no shared memory. A file of its own, since these belong to the whole process, and
//! its one test is alone in it.

use allcores::multiprocessing::{Connection, Lock, Pipe, Process, wait};
use allcores::shm::usage;

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// The children of a process in the process table, zombies among them.
fn children_of(pid: &str) -> Vec<String> {
    let mut children = Vec::new();
    let threads = std::fs::read_dir(format!("/proc/{pid}/task"));
    for thread in threads.into_iter().flatten().flatten() {
        let list = std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        children.extend(list.split_whitespace().map(str::to_owned));
    }
    children
}

/// The fork server of this process, if there is one.
fn server() -> Option<String> {
    let mut children = children_of("self").into_iter();
    children.find(|pid| name_of(pid) == "allcores-zygote")
}

/// Our processes and those of the server, but for those that it may keep ready.
fn children() -> usize {
    let server = server();
    let mut its = server.as_deref().map_or(Vec::new(), children_of);
    its.retain(|pid| name_of(pid) != "allcores-zygote");
    children_of("self").len() + its.len() - usize::from(server.is_some())
}

/// Children that the server keeps ready.
fn ready() -> Vec<String> {
    let mut its = server().map_or(Vec::new(), |server| children_of(&server));
    its.retain(|pid| name_of(pid) == "allcores-zygote");
    its
}

/// What this process has open but for the sockets of children that are kept ready: how many those are depends on how quickly
/// starts have followed one another. One that has been asked for and is not there yet counts.
fn descriptors_but_for_ready() -> usize {
    open_descriptors().saturating_sub(ready().len())
}

fn name_of(pid: &str) -> String {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    name.trim().to_owned()
}

/// What the server has open beside its children's pipes, and how much memory it has, in kibibytes that it shares with nobody.
fn server_holds() -> (usize, u64) {
    let Some(server) = server() else {
        return (0, 0);
    };
    // It may make or collect a child at any moment. While it does so it has more open than before and after, never less.
    let open = loop {
        let children = children_of(&server);
        let open = std::fs::read_dir(format!("/proc/{server}/fd")).unwrap();
        let open: Vec<_> = open
            .flatten()
            .map(|entry| std::fs::read_link(entry.path()).unwrap_or_default())
            .collect();
        if children_of(&server) == children {
            // Where the kernel does not tell how they end, the server hears of it by signals, and has a pipe for each; also
            // for those that it keeps ready, of which there are more where starts follow one another more quickly.
            let tells = open
                .iter()
                .any(|link| link.ends_with("anon_inode:[signalfd]"));
            break open.len() - if tells { children.len() } else { 0 };
        }
    };
    let memory = std::fs::read_to_string(format!("/proc/{server}/status")).unwrap();
    let line = memory.lines().find(|line| line.starts_with("RssAnon"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    (open, number.unwrap().parse().unwrap())
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
    let reaped = || {
        while children() != 0 {
            std::thread::yield_now();
        }
    };
    reaped();
    // What the dead held in the arena is let go of when there is reason to look; a child that is joined is one.
    Process::new(|()| (), ()).start().unwrap().join().unwrap();
    // How it ended may be known a moment before it has left the table.
    reaped();
}

#[test]
fn a_thousand_processes_leave_what_a_hundred_leave() {
    let total = Lock::new(0).unwrap();
    (0..100).for_each(|n| one_process(n, &total));
    settle();
    let (memory, descriptors) = (usage().unwrap(), descriptors_but_for_ready());
    let (open, resident) = server_holds();
    (100..1000).for_each(|n| one_process(n, &total));
    settle();
    assert_eq!(usage().unwrap(), memory);
    // The reaper closes a descriptor just after it has reaped: the count comes down, or this never ends.
    while descriptors_but_for_ready() > descriptors {
        std::thread::yield_now();
    }
    let ready = ready();
    assert!(ready.len() <= 4, "{ready:?}");
    // As is the server when it has just made the next.
    while server_holds().0 > open {
        std::thread::yield_now();
    }
    let (_, resident_after) = server_holds();
    // Not so much as a page for ten processes.
    assert!(
        resident_after < resident + 360,
        "{resident} KiB, then {resident_after} KiB"
    );
    assert_eq!(*total.acquire().unwrap(), (0..1000).sum::<u64>());
}
