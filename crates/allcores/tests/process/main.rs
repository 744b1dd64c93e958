//! Processes, through the public API, under the plain test harness.

mod family;
mod handle;
mod outcome;
mod reaping;
mod surroundings;
mod transfer;
mod util;
