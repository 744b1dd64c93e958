//! A queue does not believe what it reads in shared memory, where somebody may have written over it; nor does the arena.
//!
//! Each test has an arena of its own, since it damages it.

mod death;

use std::sync::atomic::Ordering::Relaxed;

use allcores::multiprocessing::queue::{GetError, PutError};
use allcores::multiprocessing::{Lock, Queue};
use allcores::shm;
use death::{Test, run};

const TESTS: &[Test] = &[
    ("a_place_that_cannot_be", a_place_that_cannot_be),
    ("segments_that_go_in_a_circle", segments_that_go_in_a_circle),
    (
        "cells_of_any_size_in_an_arena_without_an_end",
        cells_of_any_size_in_an_arena_without_an_end,
    ),
];

fn main() {
    run(TESTS);
}

/// Where the next message goes is read there.
fn a_place_that_cannot_be() {
    let queue = Queue::<u64>::new().unwrap();
    queue.put(&1).unwrap();
    let words = shm::Image::of_common().unwrap().words();
    let before: Vec<u32> = words.iter().map(|word| word.load(Relaxed)).collect();
    queue.put(&2).unwrap();
    // The one place that the second message moved on: an offset, and behind it the number of a segment.
    let moved: Vec<usize> = (0..words.len() - 1)
        .step_by(2)
        .filter(|&at| {
            let offset = words[at].load(Relaxed);
            let segment = words[at + 1].load(Relaxed);
            offset != before[at] && offset.is_multiple_of(8) && segment != 0
        })
        .collect();
    let [at] = moved[..] else {
        panic!("{moved:?}");
    };
    let right = words[at].load(Relaxed);
    // Between two records, at the very end of a segment, behind it, far outside the arena.
    for wrong in [right + 4, 0xFFC0, 0x0001_0000, 0xFFFF_FFF8] {
        words[at].store(wrong, Relaxed);
        for message in [&3, &4] {
            let put = queue.try_put(message);
            assert!(
                matches!(put, Err(PutError::Damaged(_))),
                "{put:?} at {wrong:#x}"
            );
        }
        assert_eq!(queue.qsize(), 2);
    }
    // Nothing was left locked, or written.
    words[at].store(right, Relaxed);
    queue.put(&3).unwrap();
    assert_eq!([1, 2, 3].map(|_| queue.get().unwrap()), [1, 2, 3]);
}

/// By what the memory says of the order of its segments, whoever goes through all messages would never end.
fn segments_that_go_in_a_circle() {
    const WORDS: usize = 250;
    let queue = Queue::<()>::new().unwrap();
    let put = |number: u32| {
        let mut message = [0xAA; 4 * WORDS];
        message[..4].copy_from_slice(&number.to_ne_bytes());
        queue.put_bytes(&message).unwrap();
    };
    // Three segments of 64 KiB.
    let puts = 140;
    (0..puts).for_each(put);
    let words = shm::Image::of_common().unwrap().words();
    let value = |at: usize| words[at].load(Relaxed);
    let find = |from: usize, is_it: &dyn Fn(usize) -> bool| -> Vec<usize> {
        (from..words.len() - 1).filter(|at| is_it(*at)).collect()
    };
    // Behind the last message of a segment: the number of the next one, and what kind of record that is.
    let end = u32::from_ne_bytes([0xAA; 4]);
    let mut jumps = find(WORDS, &|at| value(at - 1) == end && value(at + 1) == 3);
    jumps.sort_by_key(|at| value(at - WORDS));
    let [first, second] = jumps[..] else {
        panic!("{jumps:?}");
    };
    // How many have been put, and whether by an odd number of puts.
    let put_word = |puts: u32| 2 * puts + puts % 2;
    let before: Vec<u32> = words.iter().map(|word| word.load(Relaxed)).collect();
    put(puts);
    let counts = find(0, &|at| {
        before[at] == put_word(puts) && value(at) == put_word(puts + 1)
    });
    let [count] = counts[..] else {
        panic!("{counts:?}");
    };

    // The second segment follows itself, and there is more than the arena has room for.
    words[second].store(value(first), Relaxed);
    words[count].store(put_word(puts + 1) + 200_000, Relaxed);
    let all = || queue.get_many(usize::MAX).map(|got| got.len());
    let got = all();
    assert!(matches!(got, Err(GetError::Damaged(_))), "{got:?}");
    // The first words say how much memory the arena has. That it has 16 GiB is not believed.
    let high = words[1].swap(4, Relaxed);
    let got = all();
    words[1].store(high, Relaxed);
    assert!(matches!(got, Err(GetError::Damaged(_))), "{got:?}");
    // Whoever frees the queue looks for handles in it. More than anybody can count:
    words[count + 1].store(1 << 30, Relaxed);
    drop(queue);
}

/// How large a cell is, and where the last one ends, is read in shared memory, too.
///
/// Seen red: a walk whose line was cut to 32 bits, so that it came back to where it had been.
fn cells_of_any_size_in_an_arena_without_an_end() {
    let things: Vec<_> = (0..3).map(|_| Lock::new([0u64; 9]).unwrap()).collect();
    let words = shm::Image::of_common().unwrap().words();
    // Where memory ends, and where cells do, of 64 bits each.
    let end = words[3];
    assert_eq!(end.load(Relaxed), 0);
    end.store(u32::MAX, Relaxed);
    for word in &words[4..] {
        let right = word.load(Relaxed);
        for lines in [1, 2, 4, 8, 16] {
            word.store(u32::MAX - lines + 1, Relaxed);
            // Nothing is changed by that.
            let _ = shm::usage();
        }
        word.store(right, Relaxed);
    }
    end.store(0, Relaxed);
    drop(things);
    shm::usage().unwrap();
}
