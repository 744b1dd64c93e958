//! How operations on a queue fail.

use std::fmt;

/// Why a queue did not take an item. The item is inside, and comes back with it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum PutError<T> {
    /// There was no room in the time given. Never from `put`, which waits as long as it takes.
    Full(T),
    /// The queue has been shut down, and takes nothing any more.
    ShutDown(T),
}

impl<T> PutError<T> {
    /// The item that was to be put.
    pub fn into_inner(self) -> T {
        match self {
            PutError::Full(item) | PutError::ShutDown(item) => item,
        }
    }

    /// Whether the queue was full.
    pub fn is_full(&self) -> bool {
        matches!(self, PutError::Full(_))
    }

    /// Whether the queue has been shut down.
    pub fn is_shutdown(&self) -> bool {
        matches!(self, PutError::ShutDown(_))
    }
}

/// Without the item, so that any item will do.
impl<T> fmt::Debug for PutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PutError::Full(_) => "Full(..)",
            PutError::ShutDown(_) => "ShutDown(..)",
        })
    }
}

impl<T> fmt::Display for PutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PutError::Full(_) => {
                "the queue is full: put() waits for room, and into_inner() gives the item back"
            }
            PutError::ShutDown(_) => {
                "the queue has been shut down and takes nothing any more: into_inner() gives the item back"
            }
        })
    }
}

impl<T> std::error::Error for PutError<T> {}

/// Why a queue gave no item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GetError {
    /// There was none in the time given. Never from `get`, which waits as long as it takes.
    #[error("the queue is empty: get() waits for an item")]
    Empty,
    /// The queue has been shut down and is empty: there will never be one.
    #[error("the queue has been shut down and is empty: there will be no more items")]
    ShutDown,
}

/// `task_done` was called more often than items were put.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "task_done() was called more often than items were put: call it once for each item that was got"
)]
pub struct TooManyDone;
