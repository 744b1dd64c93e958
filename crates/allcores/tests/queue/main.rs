//! Queues between processes, through the public API.

mod carrying;
mod ends;
mod holders;
mod joinable;
mod many;
mod order;
mod places;
mod sizes;
mod util;
mod waiting;
