//! set_excepthook. One test, since there is one hook for the whole process.

use std::sync::Arc;
use std::thread::ThreadId;

use allcores::threading::{
    JoinError, Lock, PanicLocation, Thread, reset_excepthook, scope, set_excepthook,
};

struct Call {
    thread: String,
    message: String,
    payload: Option<u8>,
    location: Option<PanicLocation>,
    in_thread: ThreadId,
}

fn run<T: Send + 'static>(
    name: &str,
    f: impl FnOnce() -> T + Send + 'static,
) -> Result<(), JoinError> {
    let t = Thread::new(f).name(name);
    t.start().unwrap();
    t.join()
}

#[test]
fn the_hook_is_called_in_the_thread_for_panics_that_nobody_caught() {
    let calls = Arc::new(Lock::new(Vec::new()));
    set_excepthook({
        let calls = calls.clone();
        move |args| {
            // Other tests' threads panic as well.
            if args.thread.name().starts_with("hooked") {
                calls.acquire().push(Call {
                    thread: args.thread.name().to_owned(),
                    message: args.message.to_owned(),
                    payload: args.payload.downcast_ref().copied(),
                    location: args.location.clone(),
                    in_thread: std::thread::current().id(),
                });
            }
        }
    });
    let next = || {
        calls
            .acquire()
            .pop()
            .expect("the hook was called before the join returned")
    };

    let t = Thread::new(|| {
        let _ = std::panic::catch_unwind(|| panic!("caught"));
        std::thread::current().id()
    })
    .name("hooked and well");
    t.start().unwrap();
    t.join().unwrap();
    assert!(calls.acquire().is_empty(), "that one was caught");

    let id = Arc::new(Lock::new(None));
    let line = line!() + 5;
    let outcome = run("hooked", {
        let id = id.clone();
        move || {
            *id.acquire() = Some(std::thread::current().id());
            panic!("number {}", 1)
        }
    });
    assert!(matches!(outcome, Err(JoinError::Panicked { message, .. }) if message == "number 1"));
    let call = next();
    assert_eq!(
        (call.thread.as_str(), call.message.as_str()),
        ("hooked", "number 1")
    );
    assert_eq!(Some(call.in_thread), *id.acquire());
    let location = call.location.expect("known");
    assert!(location.file.ends_with("hook.rs"));
    assert_eq!(location.line, line);

    assert!(run("hooked value", || std::panic::panic_any(9u8)).is_err());
    assert_eq!(next().payload, Some(9));

    scope(|s| {
        let t = s
            .thread(|| panic!("scoped"))
            .name("hooked scoped")
            .start()
            .unwrap();
        assert!(t.join().is_err());
    })
    .unwrap();
    assert_eq!(next().message, "scoped");

    // A hook that panics loses nothing.
    set_excepthook(|args| {
        if args.thread.name() == "hooked twice" {
            panic!("the hook itself");
        }
    });
    let t = Thread::new(|| panic!("the thread")).name("hooked twice");
    t.start().unwrap();
    assert!(
        matches!(t.join(), Err(JoinError::Panicked { message, .. }) if message == "the thread")
    );
    let payload = t.take_panic().expect("kept");
    assert_eq!(*payload.downcast::<&str>().unwrap(), "the thread");

    reset_excepthook();
    assert!(run("hooked no more", || panic!("unheard")).is_err());
    assert!(calls.acquire().is_empty());
    assert_eq!(Arc::strong_count(&calls), 1, "the old hook is dropped");
}
