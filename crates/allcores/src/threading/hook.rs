//! excepthook: what happens when a panic ends a thread.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::record::ThreadHandle;
use crate::sys::local::Local;

/// A panic that ended a thread, as an [`set_excepthook`] hook sees it.
#[derive(Debug)]
#[non_exhaustive]
pub struct ExceptHookArgs<'a> {
    /// The thread, which is the one that the hook runs in.
    pub thread: ThreadHandle,
    /// What the panic said.
    pub message: &'a str,
    /// What the panic carried: a `&'static str` or a `String` unless the program panicked with a value of its own.
    pub payload: &'a (dyn Any + Send),
    /// Where this thread panicked last; `None` if that is unknown, because the program has replaced the standard
    /// library's panic hook since [`set_excepthook`].
    pub location: Option<PanicLocation>,
}

/// A place in the source text.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PanicLocation {
    /// The file, as the compiler was told of it.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1.
    pub column: u32,
}

type Hook = Arc<dyn Fn(&ExceptHookArgs<'_>) + Send + Sync>;

static HOOK: Local<Option<Hook>> = Local::new(None);

thread_local! {
    static LAST_PANIC: RefCell<Option<PanicLocation>> = const { RefCell::new(None) };
}

/// Sets what is called when a panic ends a thread that this module started: Python's `threading.excepthook`.
///
/// It is called in that thread, after its stack has been unwound and before anybody who joins it hears of it. It is called
/// for panics that nobody caught, once each. If the hook itself panics that panic is dropped; the thread's own stays its result.
///
/// Nothing is printed on top of what Rust prints: the standard library's own panic hook ([`std::panic::set_hook`]) runs at
/// every panic, caught or not, when it happens, and prints the message unless the program replaced it. This hook comes
/// later and, unless you set one, does nothing.
///
/// The first call wraps the standard library's panic hook in one that notes the panic's place and calls it.
///
/// # Panics
/// If called while the thread is panicking, as [`std::panic::set_hook`] does.
///
/// ```
/// use allcores::threading::{self, Lock, Thread};
///
/// static LOST: Lock<Vec<String>> = Lock::new(Vec::new());
/// threading::set_excepthook(|args| {
///     LOST.acquire().push(format!("{}: {}", args.thread.name(), args.message));
/// });
/// let t = Thread::new(|| panic!("out of luck")).name("w");
/// t.start()?;
/// assert!(t.join().is_err());
/// assert_eq!(*LOST.acquire(), ["w: out of luck"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn set_excepthook(hook: impl Fn(&ExceptHookArgs<'_>) + Send + Sync + 'static) {
    #[expect(
        clippy::disallowed_types,
        reason = "what is done here once std does under a lock anyway"
    )]
    static NOTE_PLACES: std::sync::Once = std::sync::Once::new();
    NOTE_PLACES.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            note_place(info.location());
            previous(info);
        }));
    });
    replace(Some(Arc::new(hook)));
}

/// Takes back [`set_excepthook`]: panics that end a thread call nothing more than the standard library's panic hook.
pub fn reset_excepthook() {
    replace(None);
}

fn replace(hook: Option<Hook>) {
    let old = std::mem::replace(&mut *HOOK.lock(), hook);
    // What the old hook captured is dropped without the lock.
    drop(old);
}

fn note_place(place: Option<&std::panic::Location<'_>>) {
    let place = place.map(|place| PanicLocation {
        file: place.file().to_owned(),
        line: place.line(),
        column: place.column(),
    });
    // Neither a panic inside this very function nor one after the destructors of thread locals may make things worse.
    let _ = LAST_PANIC.try_with(|last| {
        if let Ok(mut last) = last.try_borrow_mut() {
            *last = place;
        }
    });
}

/// Tells the hook, if there is one, what ended the calling thread.
pub(super) fn call(thread: ThreadHandle, message: &str, payload: &(dyn Any + Send)) {
    let hook = HOOK.lock().clone();
    let Some(hook) = hook else { return };
    let location = LAST_PANIC.try_with(|last| last.take()).ok().flatten();
    let args = ExceptHookArgs {
        thread,
        message,
        payload,
        location,
    };
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| hook(&args))) {
        // A payload may panic when dropped; then there is nobody left to tell.
        std::mem::forget(payload);
    }
}

/// What a panic said.
pub(super) fn message(payload: &(dyn Any + Send)) -> &str {
    if let Some(message) = payload.downcast_ref::<&'static str>() {
        message
    } else if let Some(message) = payload.downcast_ref::<String>() {
        message
    } else {
        "a value that is no text"
    }
}
