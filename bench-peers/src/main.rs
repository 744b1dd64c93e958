//! allcores against other crates that carry messages between processes: ipc-channel and iceoryx2.
//!
//! `cargo xtask bench peers`, or here `cargo bench -- [--json | --markdown] [--quick] [FILTER…]`
//!
//! Each worker is a process of its own, which an `exec` has made: ours by `Process`, the peers' by running this program
//! again, so that no library finds in it what its parent left there.

// The harness of allcores' own benchmarks, of which a part is used here.
#[path = "../../crates/allcores/benches/common/mod.rs"]
mod common;

mod connection;
mod iceoryx;
mod ipc;
mod ours;
mod queue;
mod workers;

use common::Bench;

fn main() {
    if workers::work_if_told_to() {
        return;
    }
    let mut bench = Bench::from_args();
    queue::figures(&mut bench);
    connection::figures(&mut bench);
    bench.end();
}
