//! Processes, through the public API, under the plain test harness.

use std::os::fd::AsFd;
use std::time::Duration;

use allcores::multiprocessing::process::{Exit, ProcessError, StillRunning};
use allcores::multiprocessing::{
    Connection, Never, Pipe, Process, SimplexPipe, active_children, current_process,
    parent_process, wait,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Says `up`, then waits until its far end is told to go on, or is dropped.
fn stand_by(end: Connection<u8, u8>) -> Option<u8> {
    end.send(&0).unwrap();
    end.recv().ok()
}

/// A process that runs until `release`d.
fn standing_by() -> (Process<Option<u8>>, Connection<u8, u8>) {
    let (there, here) = Pipe().unwrap();
    let p = Process::new(stand_by, there).start().unwrap();
    assert_eq!(here.recv().unwrap(), 0);
    (p, here)
}

fn exit_with(code: i32) {
    std::process::exit(code)
}

fn abort(_: ()) {
    std::process::abort()
}

fn panic_with<T: std::any::Any + Send>(payload: T) {
    std::panic::panic_any(payload)
}

fn add((a, b): (u64, u64)) -> u64 {
    a + b
}

#[test]
fn a_function_returns_its_result() {
    let p = Process::new(add, (40, 2)).start().unwrap();
    assert_eq!(p.join().unwrap(), 42);
    assert_eq!(p.exitcode(), Some(0));
    assert_eq!(p.exit(), Some(Exit::Code(0)));
}

#[test]
fn a_closure_without_captures_is_a_function_too() {
    let p = Process::new(|word: String| word.repeat(3), "ab".into())
        .start()
        .unwrap();
    assert_eq!(p.join().unwrap(), "ababab");
}

fn of_any_type<T: Clone>(value: T) -> (T, T) {
    (value.clone(), value)
}

#[test]
fn a_generic_function_is_one_for_each_type() {
    let numbers = Process::new(of_any_type::<u8>, 7).start().unwrap();
    let words = Process::new(of_any_type::<String>, "w".into())
        .start()
        .unwrap();
    assert_eq!(numbers.join().unwrap(), (7, 7));
    assert_eq!(words.join().unwrap(), ("w".into(), "w".into()));
}

#[test]
fn it_is_another_process_with_memory_of_its_own() {
    static HERE: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(1);
    HERE.store(2, std::sync::atomic::Ordering::SeqCst);
    let p = Process::new(
        |()| {
            (
                std::process::id(),
                HERE.load(std::sync::atomic::Ordering::SeqCst),
            )
        },
        (),
    );
    let p = p.start().unwrap();
    let pid = p.pid();
    assert_ne!(pid, std::process::id());
    assert_eq!(p.join().unwrap(), (pid, 1));
}

#[test]
fn a_result_is_taken_once_and_an_error_can_be_had_again() {
    let p = Process::new(add, (1, 1)).start().unwrap();
    p.join().unwrap();
    assert!(matches!(p.join(), Err(ProcessError::ResultTaken { .. })));
    assert_eq!(p.exitcode(), Some(0));

    let p = Process::new(panic_with, "again".to_owned())
        .start()
        .unwrap();
    for _ in 0..2 {
        assert!(matches!(p.join(), Err(ProcessError::Panicked { .. })));
    }
}

#[test]
fn a_panic_is_an_error_with_its_message_and_place() {
    let line = line!() + 1;
    let p = Process::new(|n: u32| assert_eq!(n, 5, "wrong number"), 4).name("asserter");
    let p = p.start().unwrap();
    let error = p.join().unwrap_err();
    assert!(error.to_string().contains("wrong number"), "{error}");
    match error {
        ProcessError::Panicked {
            name,
            message,
            location,
        } => {
            assert_eq!(name, "asserter");
            assert!(message.contains("left: 4"), "{message}");
            let location = location.unwrap();
            assert!(location.file.ends_with("tests/process.rs"), "{location}");
            assert_eq!(location.line, line);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(p.exitcode(), Some(1));
}

#[test]
fn a_panic_with_a_payload_of_its_own_is_an_error_too() {
    let p = Process::new(panic_with, 7u8).start().unwrap();
    assert!(matches!(p.join(), Err(ProcessError::Panicked { .. })));
}

#[test]
fn an_exit_on_the_way_is_an_error_with_the_code() {
    for code in [0, 3, 255] {
        let p = Process::new(exit_with, code).start().unwrap();
        match p.join() {
            Err(ProcessError::Exited { code: exited, .. }) => assert_eq!(exited, code),
            other => panic!("{other:?}"),
        }
        assert_eq!(p.exitcode(), Some(code));
    }
}

#[test]
fn a_signal_is_an_error_with_its_number() {
    let (p, _here) = standing_by();
    p.terminate().unwrap();
    match p.join() {
        Err(ProcessError::Signaled { signal, .. }) => assert_eq!(signal, libc::SIGTERM),
        other => panic!("{other:?}"),
    }
    assert_eq!(p.exitcode(), Some(-libc::SIGTERM));

    let (p, _here) = standing_by();
    p.kill().unwrap();
    assert!(p.join().unwrap_err().to_string().contains("SIGKILL"));
    assert_eq!(p.exit(), Some(Exit::Signal(libc::SIGKILL)));
    // Nothing happens to one that has ended.
    p.kill().unwrap();
    p.terminate().unwrap();

    let p = Process::new(abort, ()).start().unwrap();
    assert!(matches!(
        p.join(),
        Err(ProcessError::Signaled {
            signal: libc::SIGABRT,
            ..
        })
    ));
}

#[test]
fn it_is_alive_until_it_ends() {
    let (p, here) = standing_by();
    assert!(p.is_alive());
    assert_eq!((p.exit(), p.exitcode()), (None, None));
    assert_eq!(p.join_timeout(Duration::from_millis(1)).unwrap(), None);
    assert!(active_children().iter().any(|child| child.pid() == p.pid()));
    here.send(&9).unwrap();
    assert_eq!(p.join_timeout(Duration::MAX).unwrap(), Some(Some(9)));
    assert!(!p.is_alive());
    assert!(active_children().iter().all(|child| child.pid() != p.pid()));
}

#[test]
fn a_running_process_gives_its_handle_back() {
    let (p, here) = standing_by();
    let StillRunning(p) = p.close().unwrap_err();
    here.send(&1).unwrap();
    p.join().unwrap();
    p.close().unwrap();
}

#[test]
fn a_sentinel_can_be_waited_for_together_with_connections() {
    let (p, here) = standing_by();
    let (quiet, _far) = Pipe::<u8, u8>().unwrap();
    assert!(
        wait(&[&p, &quiet], Duration::from_millis(1))
            .unwrap()
            .is_empty()
    );
    here.send(&1).unwrap();
    assert_eq!(wait(&[&quiet, &p], None).unwrap(), [1]);
    assert_eq!(wait(&[&p.sentinel()], None).unwrap(), [0]);
    assert_eq!(p.exitcode(), Some(0));
}

#[test]
fn threads_may_join_one_process_together() {
    let (p, here) = standing_by();
    std::thread::scope(|scope| {
        let joiners: Vec<_> = (0..4).map(|_| scope.spawn(|| p.join())).collect();
        here.send(&5).unwrap();
        let results: Vec<_> = joiners
            .into_iter()
            .map(|joiner| joiner.join().unwrap())
            .collect();
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
        let taken =
            |result: &&Result<_, _>| matches!(result, Err(ProcessError::ResultTaken { .. }));
        assert_eq!(results.iter().filter(taken).count(), 3);
    });
}

#[test]
fn processes_may_start_in_many_threads_at_once() {
    std::thread::scope(|scope| {
        for n in 0..8 {
            scope.spawn(move || {
                let p = Process::new(add, (n, 1)).start().unwrap();
                assert_eq!(p.join().unwrap(), n + 1);
            });
        }
    });
}

#[test]
fn large_arguments_and_results_arrive() {
    let sent: String = (0..10_000_000u32)
        .map(|n| char::from(b'a' + (n % 23) as u8))
        .collect();
    let turn = |text: String| text.chars().rev().collect::<String>();
    let back = Process::new(turn, sent.clone())
        .start()
        .unwrap()
        .join()
        .unwrap();
    assert!(back == turn(sent));
}

#[test]
fn sizes_round_the_inline_limit_arrive() {
    for size in [32 * 1024 - 8, 32 * 1024 - 3, 32 * 1024, 32 * 1024 + 1] {
        let p = Process::new(|text: String| text, "x".repeat(size))
            .start()
            .unwrap();
        assert_eq!(p.join().unwrap().len(), size);
    }
}

#[test]
fn a_child_whose_result_nobody_reads_ends() {
    let p = Process::new(|n: usize| "x".repeat(n), 10 << 20)
        .start()
        .unwrap();
    assert_eq!(wait(&[&p], None).unwrap(), [0]);
    assert_eq!(p.exitcode(), Some(0));
}

#[test]
fn connections_travel_in_arguments_and_in_results() {
    let (there, here) = Pipe::<String, String>().unwrap();
    let p = Process::new(
        |end: Connection<String, String>| {
            let (mine, yours) = Pipe::<u8, u8>().unwrap();
            end.send(&format!("got {}", end.recv().unwrap())).unwrap();
            mine.send(&77).unwrap();
            vec![yours]
        },
        there,
    );
    let p = p.start().unwrap();
    here.send(&"this".into()).unwrap();
    assert_eq!(here.recv().unwrap(), "got this");
    let ends = p.join().unwrap();
    assert_eq!(ends[0].recv().unwrap(), 77);
    assert!(here.recv().is_err(), "no end is left open in this process");
}

#[test]
fn large_values_and_handles_travel_together() {
    let (there, here) = Pipe::<usize, Never>().unwrap();
    let p = Process::new(
        |(text, end): (String, Connection<usize, Never>)| {
            end.send(&text.len()).unwrap();
            (text, end)
        },
        ("x".repeat(100_000), there),
    );
    let p = p.start().unwrap();
    assert_eq!(here.recv().unwrap(), 100_000);
    let (text, end) = p.join().unwrap();
    end.send(&text.len()).unwrap();
    assert_eq!(here.recv().unwrap(), 100_000);
}

/// Serialises well, and never deserialises.
#[derive(Serialize)]
struct OneWay(u8);
impl<'de> Deserialize<'de> for OneWay {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<OneWay, D::Error> {
        u8::deserialize(deserializer)?;
        Err(serde::de::Error::custom("not today"))
    }
}

/// Never serialises.
#[derive(Deserialize)]
struct Stuck(#[allow(dead_code)] u8);
impl Serialize for Stuck {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("not today"))
    }
}

#[test]
fn what_does_not_decode_or_encode_is_an_error_that_says_where() {
    let p = Process::new(|_: OneWay| (), OneWay(1)).start().unwrap();
    match p.join() {
        Err(ProcessError::NotRun { reason, .. }) => {
            assert!(
                reason.contains("arguments") && reason.contains("OneWay"),
                "{reason}"
            );
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(p.exitcode(), Some(1));

    let p = Process::new(|()| Stuck(1), ()).start().unwrap();
    let Err(ProcessError::ResultNotSent { reason, .. }) = p.join() else {
        panic!("it was sent");
    };
    assert!(reason.contains("Stuck"), "{reason}");

    let p = Process::new(|()| OneWay(1), ()).start().unwrap();
    assert!(matches!(
        p.join(),
        Err(ProcessError::ResultNotReceived { .. })
    ));
    assert_eq!(p.exitcode(), Some(0));

    assert!(Process::new(|_: Stuck| (), Stuck(1)).start().is_err());
}

#[test]
fn names_are_given_or_counted() {
    let me = |()| current_process().name().to_owned();
    let p = Process::new(me, ()).name("given").start().unwrap();
    assert_eq!(p.name(), "given");
    assert_eq!(p.join().unwrap(), "given");
    let p = Process::new(me, ()).start().unwrap();
    let name = p.name().to_owned();
    assert!(name.starts_with("Process-"), "{name}");
    assert_eq!(p.join().unwrap(), name);
    assert_eq!(current_process().name(), "MainProcess");
    assert_eq!(current_process().pid(), std::process::id());
}

#[test]
fn processes_have_processes() {
    fn depth(n: u32) -> String {
        if n == 0 {
            return current_process().name().to_owned();
        }
        Process::new(depth, n - 1).start().unwrap().join().unwrap()
    }
    let p = Process::new(depth, 2).start().unwrap();
    let name = p.name().to_owned();
    assert_eq!(p.join().unwrap(), format!("{name}:1:1"));
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
    let told = p.start().unwrap().join().unwrap();
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
            let _ = p.join();
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
        let _ = p.join();
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
                grandchild.join().unwrap(),
            )
        },
        (),
    );
    let p = p.daemon(true).start().unwrap();
    assert!(p.daemon());
    assert_eq!(p.join().unwrap(), (true, true, true));
    let p = Process::new(|()| current_process().daemon(), ())
        .start()
        .unwrap();
    assert!(!p.join().unwrap());
}

/// Whether the process table still has an entry of this number whose parent we are.
fn is_in_the_table(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or("");
    fields.split_whitespace().nth(1) == Some(&std::process::id().to_string())
}

#[test]
fn a_dropped_process_goes_on_and_leaves_no_zombie() {
    let (p, here) = standing_by();
    let (pid, sentinel) = (p.pid(), p.as_fd().try_clone_to_owned().unwrap());
    drop(p);
    assert!(active_children().iter().any(|child| child.pid() == pid));
    assert!(is_in_the_table(pid));
    here.send(&1).unwrap();
    assert_eq!(wait(&[&sentinel], None).unwrap(), [0]);
    while is_in_the_table(pid) {
        std::thread::yield_now();
    }
}

#[test]
fn an_active_child_can_be_ended_without_its_handle() {
    let (p, _here) = standing_by();
    let pid = p.pid();
    drop(p);
    let child = active_children()
        .into_iter()
        .find(|child| child.pid() == pid)
        .unwrap();
    assert!(child.is_alive() && !child.join_timeout(Duration::from_millis(1)).unwrap());
    child.kill().unwrap();
    child.join().unwrap();
    assert_eq!(child.exitcode(), Some(-libc::SIGKILL));
    assert!(!is_in_the_table(pid));
}

/// Collects a child behind the library's back.
fn steal_status(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid as i32);
    let options = rustix::process::WaitOptions::empty();
    rustix::process::waitpid(pid, options).unwrap();
}

#[test]
fn a_status_that_somebody_else_took_is_unknown_and_not_invented() {
    let p = Process::new(exit_with, 3).start().unwrap();
    steal_status(p.pid());
    assert!(matches!(p.join(), Err(ProcessError::StatusLost { .. })));
    assert_eq!((p.exit(), p.exitcode()), (Some(Exit::Unknown), None));
    assert!(!p.is_alive());
    p.kill().unwrap();

    // The result is known all the same.
    let p = Process::new(add, (2, 2)).start().unwrap();
    steal_status(p.pid());
    assert_eq!(p.join().unwrap(), 4);
}

#[test]
fn it_works_where_sigchld_is_ignored() {
    let p = Process::new(
        |()| {
            // SAFETY: SIG_IGN is no code of ours.
            unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
            let p = Process::new(add, (1, 2)).start().unwrap();
            let sum = p.join().unwrap();
            let exit = Process::new(exit_with, 3).start().unwrap();
            let lost = matches!(exit.join(), Err(ProcessError::StatusLost { .. }));
            (sum, p.exitcode(), lost)
        },
        (),
    );
    assert_eq!(p.start().unwrap().join().unwrap(), (3, None, true));
}

#[test]
fn a_forked_process_has_no_children_and_can_have_its_own() {
    fn forks(_: ()) -> (i32, bool) {
        let (p, here) = standing_by();
        let dropped = standing_by();
        drop(dropped.0);
        // SAFETY: the child uses this thread only, ends by _exit, and glibc keeps its allocator usable after a fork.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            let checks = [
                active_children().is_empty(),
                matches!(p.join(), Err(ProcessError::NotOurChild { .. })),
                p.is_alive(),
                Process::new(add, (1, 2)).start().unwrap().join().unwrap() == 3,
                standing_by().0.kill().is_ok(),
            ];
            drop(p);
            // SAFETY: leaves without running the parent's exit handlers.
            unsafe { libc::_exit(i32::from(checks != [true; 5])) };
        }
        let mut status = 0;
        // SAFETY: our own child, forked above.
        unsafe { libc::waitpid(pid, &mut status, 0) };
        here.send(&4).unwrap();
        (status, p.join().unwrap() == Some(4))
    }
    let p = Process::new(forks, ()).start().unwrap();
    assert_eq!(p.join().unwrap(), (0, true));
}

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
    let (blocked, ignored) = p.start().unwrap().join().unwrap();
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
            let name = std::thread::current().name().unwrap().to_owned();
            (std::env::args().collect::<Vec<_>>(), name, open)
        },
        writer,
    );
    let (arguments, thread, open) = p.start().unwrap().join().unwrap();
    drop(stray);
    assert_eq!(arguments, std::env::args().collect::<Vec<_>>());
    assert_eq!(thread, "main");
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
