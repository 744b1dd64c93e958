//! Queues between threads: Python's module `queue`.
//!
//! | here | next is |
//! |---|---|
//! | [`Queue`] | the first that was put |
//! | [`LifoQueue`] | the last that was put |
//! | [`PriorityQueue`] | the smallest |
//! | [`SimpleQueue`] | the first that was put; without limit, tasks and shutdown |
//!
//! What goes wrong is a [`PutError`], which has the item, a [`GetError`], or [`TooManyDone`].

mod core;
mod error;
mod face;
mod line;
mod simple;
mod store;

pub use error::{GetError, PutError, TooManyDone};
pub use face::{LifoQueue, PriorityQueue, Queue, QueueIter};
pub use simple::SimpleQueue;
