//! What becomes of a function: its result, its panic, its exit, its signal.

use std::any::Any;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use allcores::multiprocessing::Process;
use allcores::multiprocessing::process::{Exit, ProcessError};

use crate::util::{add, exit_with, standing_by};

fn abort(_: ()) {
    std::process::abort()
}

fn panic_with<T: Any + Send>(payload: T) {
    std::panic::panic_any(payload)
}

#[test]
fn a_function_returns_its_result() {
    let p = Process::new(add, (40, 2)).start().unwrap();
    assert_eq!(p.result().unwrap(), 42);
    assert_eq!(p.exitcode(), Some(0));
    assert_eq!(p.exit(), Some(Exit::Code(0)));
}

#[test]
fn a_closure_without_captures_is_a_function_too() {
    let p = Process::new(|word: String| word.repeat(3), "ab".into())
        .start()
        .unwrap();
    assert_eq!(p.result().unwrap(), "ababab");
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
    assert_eq!(numbers.result().unwrap(), (7, 7));
    assert_eq!(words.result().unwrap(), ("w".into(), "w".into()));
}

#[test]
fn it_is_another_process_with_memory_of_its_own() {
    static HERE: AtomicU32 = AtomicU32::new(1);
    HERE.store(2, SeqCst);
    let p = Process::new(|()| (std::process::id(), HERE.load(SeqCst)), ());
    let p = p.start().unwrap();
    let pid = p.pid();
    assert_ne!(pid, std::process::id());
    assert_eq!(p.result().unwrap(), (pid, 1));
}

#[test]
fn a_result_is_taken_once_and_an_error_can_be_had_again() {
    let p = Process::new(add, (1, 1)).start().unwrap();
    p.result().unwrap();
    assert!(matches!(p.result(), Err(ProcessError::ResultTaken { .. })));
    assert_eq!(p.exitcode(), Some(0));

    let p = Process::new(panic_with, "again".to_owned())
        .start()
        .unwrap();
    for _ in 0..2 {
        assert!(matches!(p.result(), Err(ProcessError::Panicked { .. })));
    }
}

#[test]
fn a_panic_is_an_error_with_its_message_and_place() {
    let line = line!() + 1;
    let p = Process::new(|n: u32| assert_eq!(n, 5, "wrong number"), 4).name("asserter");
    let p = p.start().unwrap();
    let error = p.result().unwrap_err();
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
            assert!(
                location.file.ends_with("tests/process/outcome.rs"),
                "{location}"
            );
            assert_eq!(location.line, line);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(p.exitcode(), Some(1));
}

#[test]
fn a_panic_with_a_payload_of_its_own_is_an_error_too() {
    let p = Process::new(panic_with, 7u8).start().unwrap();
    assert!(matches!(p.result(), Err(ProcessError::Panicked { .. })));
}

#[test]
fn an_exit_on_the_way_is_an_error_with_the_code() {
    for code in [0, 3, 255] {
        let p = Process::new(exit_with, code).start().unwrap();
        match p.result() {
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
    match p.result() {
        Err(ProcessError::Signaled { signal, .. }) => assert_eq!(signal, libc::SIGTERM),
        other => panic!("{other:?}"),
    }
    assert_eq!(p.exitcode(), Some(-libc::SIGTERM));

    let (p, _here) = standing_by();
    p.kill().unwrap();
    assert!(p.result().unwrap_err().to_string().contains("SIGKILL"));
    assert_eq!(p.exit(), Some(Exit::Signal(libc::SIGKILL)));
    // Nothing happens to one that has ended.
    p.kill().unwrap();
    p.terminate().unwrap();

    let p = Process::new(abort, ()).start().unwrap();
    assert!(matches!(
        p.result(),
        Err(ProcessError::Signaled {
            signal: libc::SIGABRT,
            ..
        })
    ));
}

#[test]
fn a_child_that_is_killed_at_any_moment_has_one_clear_outcome() {
    let mut killed = 0;
    for n in 0..60u32 {
        let p = Process::new(|n: usize| "x".repeat(n), 100_000)
            .start()
            .unwrap();
        for _ in 0..n * n {
            std::hint::spin_loop();
            p.is_alive();
        }
        p.kill().unwrap();
        match p.result() {
            Ok(result) => assert_eq!(result.len(), 100_000),
            Err(ProcessError::Signaled {
                signal: libc::SIGKILL,
                ..
            }) => killed += 1,
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(killed > 0);
}
