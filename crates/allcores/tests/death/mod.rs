//! What the tests that kill have in common: a runner without threads, processes made by fork, a page that they share, and
//! a hand that leads a process instruction by instruction.
//!
//! These tests bring a `main` of their own, because a process that forks at will should have one thread. Each test runs in
//! a process of its own, hence in an arena of its own.
//!
//! | variable | meaning |
//! |---|---|
//! | `ALLCORES_STORM_ROUNDS` | kills in each storm |
//! | `ALLCORES_STORM_SEED` | repeats the choices of a storm (its timing cannot be repeated) |
//! | `ALLCORES_STEP_POINTS` | at how many instructions of an operation it is killed |
//! | `ALLCORES_STEP_ALL=1` | at all of them |
//! | `ALLCORES_TEST_PATIENCE` | seconds without what must come until it counts as never |

#![allow(
    dead_code,
    unused_imports,
    reason = "each test program uses another part of it"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "the tests lead and kill processes by system calls of their own"
)]

mod ledger;
mod page;
mod process;
mod runner;
mod scenario;
mod step;
mod storm;

pub(crate) use ledger::{BUSY, Flow};
pub(crate) use page::{Gate, page};
pub(crate) use process::{Process, Status, children, descriptors};
pub(crate) use runner::{Random, Test, control, number_from_env, patience, run, until, until_or};
pub(crate) use scenario::{NOBODY_OWES, NOTHING, Scenario};
pub(crate) use step::{Stepped, Stop, is_asleep, points};
pub(crate) use storm::{Floor, Seat, Storm};
