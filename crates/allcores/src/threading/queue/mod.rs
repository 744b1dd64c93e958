//! Queues between threads: Python's module `queue`.

mod core;
mod error;
mod face;
mod line;
mod simple;
mod store;

pub use error::{GetError, PutError, TooManyTasksDone};
pub use face::{LifoQueue, PriorityQueue, Queue, QueueIter};
pub use simple::SimpleQueue;
