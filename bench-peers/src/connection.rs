//! Connection against ipc-channel: values of 64 bytes, by serde and postcard on both sides.

use crate::common::machine::Pins;
use crate::common::messages::Job;
use crate::common::{Bench, Bound};
use crate::ipc::{IpcChannel, Values};
use crate::ours::ConnectionValues;
use crate::queue::SMALL;
use crate::workers::contestant;

pub(crate) fn figures(bench: &mut Bench) {
    for pins in Pins::ALL {
        for (name, job) in [
            ("round trip", Job::round_trip(SMALL, pins)),
            ("one-way", Job::one_way(SMALL, 1, 1, pins)),
        ] {
            bench.compare(
                &format!("Connection 64 B {name} by send and recv, {}", pins.name()),
                Bound::None,
                contestant::<ConnectionValues>("Connection", job),
                vec![contestant::<IpcChannel<Values>>("ipc-channel", job)],
            );
        }
    }
}
