//! The `allcores` command.

fn main() {}
