//! Every developer command: `cargo xtask --help`.

fn main() {}
