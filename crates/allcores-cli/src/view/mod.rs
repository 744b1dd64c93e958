//! What is printed. Nothing else writes to stdout.

pub(crate) mod json;
pub(crate) mod progress;
pub(crate) mod table;
