//! The messages that a thread is in the middle of: where a value's `Serialize` finds what its handles go out with.

use std::cell::RefCell;

use super::error::TransferError;
use super::incoming::Incoming;
use super::outgoing::Outgoing;

pub(super) enum Way {
    Out(Outgoing),
    In(Incoming),
}

pub(super) struct Context {
    pub(super) way: Way,
    /// The first failure: the codec may know no better than to say "failed".
    pub(super) failure: Option<TransferError>,
}

thread_local! {
    /// The messages that this thread is in the middle of, innermost last: a value may send another message while it is
    /// serialised itself.
    pub(super) static OPEN: RefCell<Vec<Context>> = const { RefCell::new(Vec::new()) };
}

/// Runs `work` with a context open on this thread, also closing it if `work` panics.
fn within<T>(way: Way, work: impl FnOnce() -> T) -> (T, Context) {
    struct Unwind;
    impl Drop for Unwind {
        fn drop(&mut self) {
            OPEN.with_borrow_mut(Vec::pop);
        }
    }
    OPEN.with_borrow_mut(|open| open.push(Context { way, failure: None }));
    let unwind = Unwind;
    let result = work();
    std::mem::forget(unwind);
    let context = OPEN.with_borrow_mut(Vec::pop);
    (result, context.expect("the context that was opened above"))
}

/// Runs `work`, which serialises something, and tells what its handles handed over, or why they could not.
pub(crate) fn sending<T>(
    outgoing: Outgoing,
    work: impl FnOnce() -> T,
) -> (T, Outgoing, Option<TransferError>) {
    match within(Way::Out(outgoing), work) {
        (
            result,
            Context {
                way: Way::Out(out),
                failure,
            },
        ) => (result, out, failure),
        _ => unreachable!("the context keeps its direction"),
    }
}

/// Runs `work`, which deserialises something. What its handles do not take is closed.
pub(crate) fn receiving<T>(
    incoming: Incoming,
    work: impl FnOnce() -> T,
) -> (T, Option<TransferError>) {
    let (result, context) = within(Way::In(incoming), work);
    (result, context.failure)
}

pub(super) fn in_context<T>(
    nobody: TransferError,
    work: impl FnOnce(&mut Way) -> Option<Result<T, TransferError>>,
) -> Result<T, TransferError> {
    OPEN.with_borrow_mut(|open| {
        let Some(context) = open.last_mut() else {
            return Err(nobody);
        };
        let result = work(&mut context.way).unwrap_or(Err(nobody));
        if let Err(error) = &result {
            context.failure.get_or_insert_with(|| error.clone());
        }
        result
    })
}

pub(super) fn outgoing<T>(
    work: impl FnOnce(&mut Outgoing) -> Result<T, TransferError>,
) -> Result<T, TransferError> {
    in_context(TransferError::NotSending, |way| match way {
        Way::Out(out) => Some(work(out)),
        Way::In(_) => None,
    })
}

pub(super) fn incoming<T>(
    work: impl FnOnce(&mut Incoming) -> Result<T, TransferError>,
) -> Result<T, TransferError> {
    in_context(TransferError::NotReceiving, |way| match way {
        Way::In(incoming) => Some(work(incoming)),
        Way::Out(_) => None,
    })
}
