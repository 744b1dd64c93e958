//! Many threads at once: nothing lost, nothing doubled, nothing hangs.

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use allcores::threading::queue::GetError;
use allcores::threading::{Queue, scope};

use super::{AnyQueue, for_each_kind};

const PRODUCERS: u32 = 4;
const CONSUMERS: u32 = 4;
const EACH: u32 = 3_000;

for_each_kind!(
    nothing_is_lost_or_doubled
    nothing_is_lost_when_waits_are_cut_short
);

/// Every item is put once, by whoever; `got` has it once.
fn check(got: Vec<Vec<u32>>) {
    let mut all = got.concat();
    all.sort_unstable();
    assert!(all.into_iter().eq(0..PRODUCERS * EACH));
}

/// Runs the producers and the consumers; the last producer to end shuts the queue down.
fn run<Q: AnyQueue>(
    q: &Q,
    put: impl Fn(&Q, u32) + Sync,
    consume: impl Fn(&Q) -> Vec<u32> + Sync,
) -> Vec<Vec<u32>> {
    let (put, consume) = (&put, &consume);
    let producing = &AtomicU32::new(PRODUCERS);
    scope(|s| {
        for producer in 0..PRODUCERS {
            s.spawn(move || {
                (producer * EACH..(producer + 1) * EACH).for_each(|item| put(q, item));
                if producing.fetch_sub(1, SeqCst) == 1 {
                    q.shutdown(false);
                }
            });
        }
        let consumers: Vec<_> = (0..CONSUMERS).map(|_| s.spawn(|| consume(q))).collect();
        consumers.iter().map(|c| c.result().unwrap()).collect()
    })
    .unwrap()
}

fn nothing_is_lost_or_doubled<Q: AnyQueue>() {
    for maxsize in [1, 2, 100] {
        let q = Q::bounded(maxsize);
        let put = |q: &Q, item| q.put(item).unwrap();
        let got = run(&q, put, |q| {
            let mut got = Vec::new();
            for item in q.items() {
                assert!(q.qsize() <= maxsize);
                got.push(item);
                q.task_done().unwrap();
            }
            got
        });
        check(got);
        assert_eq!((q.qsize(), q.unfinished_tasks()), (0, 0));
    }
}

fn nothing_is_lost_when_waits_are_cut_short<Q: AnyQueue>() {
    let q = Q::bounded(2);
    let short = |n: u32| Duration::from_micros(u64::from(n % 8) * 10);
    let put = |q: &Q, item| {
        let mut waited = 0;
        while q.put_timeout(item, short(waited)).is_err() {
            waited += 1;
        }
    };
    let got = run(&q, put, |q| {
        let (mut got, mut waited) = (Vec::new(), 0);
        loop {
            match q.get_timeout(short(waited)) {
                Ok(item) => got.push(item),
                Err(GetError::Empty) => waited += 1,
                Err(GetError::ShutDown) => return got,
            }
        }
    });
    check(got);
}

#[test]
fn each_producer_s_items_come_in_the_order_in_which_it_put_them() {
    let q = Queue::bounded(3);
    let got = run(&q, |q, item| q.put(item).unwrap(), |q| q.iter().collect());
    // Whoever got them, each consumer saw any producer's items in order.
    for got in &got {
        for producer in 0..PRODUCERS {
            let its = got.iter().filter(|item| **item / EACH == producer);
            assert!(its.is_sorted());
        }
    }
    check(got);
}
