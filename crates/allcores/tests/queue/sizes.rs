//! Messages of every size, whole.

use std::panic::AssertUnwindSafe;

use allcores::multiprocessing::queue::PutError;
use allcores::multiprocessing::{Process, Queue};

use super::util::filling;

/// Around every size at which something changes: words, the longest that lies among others, a segment, spare or not.
fn lengths() -> Vec<usize> {
    let mut lengths: Vec<usize> = (0..=33).collect();
    for edge in [16 << 10, 32 << 10, 64 << 10, 1 << 20, 8 << 20] {
        lengths.extend([edge - 65, edge - 64, edge - 63]);
        lengths.extend(edge - 9..=edge + 9);
    }
    lengths
}

#[test]
fn one_after_the_other() {
    let queue = Queue::<()>::new().unwrap();
    let mut buffer = vec![1; 10];
    for length in lengths() {
        let message = filling(length as u32, length);
        queue.put_bytes(&message).unwrap();
        queue.get_bytes_into(&mut buffer).unwrap();
        assert!(buffer == message, "{length} bytes");
    }
    assert!(queue.is_empty());
}

#[test]
fn all_in_the_queue_at_once() {
    let queue = Queue::<()>::new().unwrap();
    let lengths: Vec<_> = lengths().into_iter().filter(|at| *at < 2 << 20).collect();
    for length in &lengths {
        queue
            .try_put_bytes(&filling(*length as u32, *length))
            .unwrap();
    }
    assert_eq!(queue.qsize(), lengths.len());
    for length in lengths {
        let message = filling(length as u32, length);
        let same = queue.get_bytes_with(|bytes| bytes == message).unwrap();
        assert!(same, "{length} bytes");
    }
}

/// So that a record ends at every place of a segment.
#[test]
fn at_every_place_of_a_segment() {
    let queue = Queue::<()>::new().unwrap();
    for length in (0..16 << 10).step_by(401) {
        let message = filling(length as u32, length);
        for _ in 0..(3 << 16) / (length + 1024) {
            queue.put_bytes(&message).unwrap();
            queue.put_bytes(&message[..length / 2]).unwrap();
            assert_eq!(queue.get_bytes().unwrap(), message);
            assert_eq!(queue.get_bytes().unwrap(), message[..length / 2]);
        }
    }
}

fn halve((whole, half): (Queue<String>, Queue<String>)) {
    while let Ok(message) = whole.get() {
        half.put(&message[..message.len() / 2].to_string()).unwrap();
    }
}

#[test]
fn fifty_megabytes_to_a_process_and_back() {
    let (whole, half) = (Queue::new().unwrap(), Queue::new().unwrap());
    let child = Process::new(halve, (whole.clone(), half.clone()))
        .start()
        .unwrap();
    for length in [50 << 20, 1 << 20, 100, 50 << 20] {
        let message = String::from_utf8(filling(length as u32, length)).unwrap();
        whole.put(&message).unwrap();
        assert!(half.get().unwrap() == message[..length / 2]);
    }
    whole.close();
    child.join().unwrap();
}

#[test]
fn a_message_that_is_too_long_is_refused_and_named() {
    let queue = Queue::<()>::new().unwrap();
    let length = (1usize << 30) + 1;
    // Zeroes that are never touched cost no memory.
    let message = vec![0; length];
    match queue.try_put_bytes(&message) {
        Err(PutError::TooLong { length: said, most }) => {
            assert_eq!(said, length);
            assert!(most < length);
        }
        other => panic!("{other:?}"),
    }
    assert!(queue.is_empty());
    queue.put_bytes(b"short").unwrap();
    assert_eq!(queue.get_bytes().unwrap(), b"short");
}

#[test]
fn a_panic_of_the_one_who_looks_costs_that_message_alone() {
    let queue = Queue::<()>::new().unwrap();
    for length in [10, 40_000] {
        queue.put_bytes(&filling(1, length)).unwrap();
        queue.put_bytes(&filling(2, length)).unwrap();
        let look = || queue.get_bytes_with(|_| panic!("seen enough"));
        assert!(std::panic::catch_unwind(AssertUnwindSafe(look)).is_err());
        assert_eq!(queue.get_bytes().unwrap(), filling(2, length));
        assert!(queue.is_empty());
    }
}
