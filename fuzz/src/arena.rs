//! To come.
/// Nothing yet.
pub fn run(_data: &[u8]) {}
