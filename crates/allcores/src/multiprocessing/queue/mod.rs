//! Queues between processes; see `README.md` beside this file.

mod body;
mod bytes;
mod core;
mod done;
#[doc(hidden)]
pub mod door;
mod error;
mod joinable;
mod many;
mod message;
mod poll;
mod put;
mod record;
mod reserve;
mod segments;
pub(crate) mod settle;
mod simple;
mod take;
mod typed;
mod until;
mod wait;

pub use done::{ItemsLost, TooManyDone};
pub use error::{GetError, PutError, PutManyError};
pub use joinable::JoinableQueue;
pub use many::GotMany;
pub use poll::Pollable;
pub use record::Damaged;
pub use simple::SimpleQueue;
pub use typed::Queue;
#[doc(hidden)]
pub use until::Stopped;

pub(crate) use body::Body as QueueBody;
pub(crate) use core::Core;
pub(crate) use segments::{abandon, has_segments, one_less_holds, one_more_holds};

/// The least that the cell of a queue has, in bytes.
pub(crate) const LEAST_BYTES: usize = size_of::<body::Body>();
