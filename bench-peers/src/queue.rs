//! Queue against ipc-channel and iceoryx2.
//!
//! Senders write every byte of a message and receivers read every byte, whoever carries it.

use crate::common::machine::Pins;
use crate::common::messages::{Job, Look};
use crate::common::{Bench, Bound, Side};
use crate::iceoryx::{Events, Polling};
use crate::ipc::{Bytes, IpcChannel, Memory, Values};
use crate::ours::{self, GetBytes, GetBytesInto, GetBytesWith, Queued};
use crate::workers::contestant;

/// Bytes of a small message.
pub(crate) const SMALL: usize = 64;
const LARGE: usize = 1 << 20;
/// Messages that may be under way, where the contestant lets us say so.
pub(crate) const SMALL_CAPACITY: usize = 1024;
pub(crate) const LARGE_CAPACITY: usize = 4;

pub(crate) fn figures(bench: &mut Bench) {
    for pins in Pins::ALL {
        one_way(bench, pins);
    }
    for pins in Pins::ALL {
        round_trip(bench, pins);
    }
    for pins in Pins::ALL {
        large(bench, pins);
    }
}

/// Judged where processes are pinned.
fn judged(pins: Pins, bound: Bound) -> Bound {
    match pins {
        Pins::SameCpu | Pins::TwoCpus => bound,
        Pins::Free => Bound::None,
    }
}

fn iceoryx2(job: Job) -> Vec<Side<'static>> {
    vec![
        contestant::<Polling>("iceoryx2, polling", job),
        contestant::<Events>("iceoryx2, events", job),
    ]
}

fn one_way(bench: &mut Bench, pins: Pins) {
    let by = |size: usize, workers| Job::one_way(size, workers, workers, pins).look(Look::All);
    let name = |what: &str| format!("Queue 64 B one-way, {what}, {}", pins.name());
    for (workers, who) in [
        (1, "1 producer and consumer, against ipc-channel"),
        (2, "2 producers and consumers, against ipc-channel"),
    ] {
        let job = by(SMALL, workers);
        bench.compare(
            &name(who),
            judged(pins, Bound::Faster(4.0)),
            contestant::<Queued<GetBytesInto>>("Queue, bytes", job),
            vec![contestant::<IpcChannel<Bytes>>("ipc-channel, bytes", job)],
        );
        bench.compare(
            &name(&format!("{who}, values")),
            judged(pins, Bound::Faster(4.0)),
            contestant::<Queued<ours::Values>>("Queue, values", job),
            vec![contestant::<IpcChannel<Values>>("ipc-channel, values", job)],
        );
    }
    let job = by(SMALL, 1);
    bench.compare(
        &name("1 producer and consumer, against iceoryx2"),
        judged(pins, Bound::Faster(1.0)),
        contestant::<Queued<GetBytesInto>>("Queue, bytes", job),
        iceoryx2(job),
    );
}

fn round_trip(bench: &mut Bench, pins: Pins) {
    let job = Job::round_trip(SMALL, pins).look(Look::All);
    let name = |what: &str| format!("Queue 64 B round trip, against {what}, {}", pins.name());
    let bound = match pins {
        Pins::TwoCpus => Bound::Faster(8.0),
        Pins::SameCpu | Pins::Free => Bound::None,
    };
    bench.compare(
        &name("ipc-channel"),
        bound,
        contestant::<Queued<GetBytesInto>>("Queue, bytes", job),
        vec![contestant::<IpcChannel<Bytes>>("ipc-channel, bytes", job)],
    );
    bench.compare(
        &name("iceoryx2"),
        Bound::None,
        contestant::<Queued<GetBytesInto>>("Queue, bytes", job),
        iceoryx2(job),
    );
}

fn large(bench: &mut Bench, pins: Pins) {
    let job = Job::one_way(LARGE, 1, 1, pins).look(Look::All);
    let name = |what: &str| format!("Queue 1 MiB one-way, {what}, {}", pins.name());
    let ipc_channel = || {
        vec![
            contestant::<IpcChannel<Bytes>>("ipc-channel, bytes", job),
            contestant::<IpcChannel<Memory>>("ipc-channel, shared memory", job),
        ]
    };
    bench.compare(
        &name("into a new Vec, against ipc-channel"),
        judged(pins, Bound::Faster(2.5)),
        contestant::<Queued<GetBytes>>("Queue, get_bytes", job),
        ipc_channel(),
    );
    bench.compare(
        &name("read in place, against ipc-channel"),
        judged(pins, Bound::Faster(2.5)),
        contestant::<Queued<GetBytesWith>>("Queue, get_bytes_with", job),
        ipc_channel(),
    );
    bench.compare(
        &name("read in place, against iceoryx2"),
        judged(pins, Bound::Ratio(1.5)),
        contestant::<Queued<GetBytesWith>>("Queue, get_bytes_with", job),
        iceoryx2(job),
    );
    bench.compare(
        &name("copied out, against iceoryx2"),
        Bound::None,
        contestant::<Queued<GetBytesInto>>("Queue, get_bytes_into", job),
        iceoryx2(job),
    );
}
