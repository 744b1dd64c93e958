//! Nothing is lost, nothing comes twice, and each producer's messages come in its order.

use std::collections::HashMap;

use allcores::multiprocessing::queue::GetError;
use allcores::multiprocessing::{Process, Queue, SimpleQueue};

use super::util::Parcel;

const PRODUCERS: u32 = 3;
const CONSUMERS: usize = 3;
const EACH: u32 = 1500;

/// Short ones, long ones, and now and then one that has a segment of its own.
fn length(number: u32) -> usize {
    match number % 101 {
        100 => 20_000,
        rest if rest % 10 == 9 => rest as usize * 30,
        rest => rest as usize % 40,
    }
}

fn produce((queue, from): (Queue<Parcel>, u32)) {
    for number in 0..EACH {
        queue
            .put(&Parcel::new(from, number, length(number)))
            .unwrap();
    }
}

fn consume(queue: Queue<Parcel>) -> Vec<(u32, u32)> {
    let mut got = Vec::new();
    loop {
        match queue.get() {
            Ok(parcel) => {
                parcel.check();
                assert_eq!(parcel.filling.len(), length(parcel.number));
                got.push((parcel.from, parcel.number));
            }
            Err(GetError::Closed) => return got,
            Err(error) => panic!("{error}"),
        }
    }
}

fn in_order(got: &[(u32, u32)]) {
    let mut last = HashMap::new();
    for (from, number) in got {
        let before = last.insert(*from, *number);
        assert!(
            before < Some(*number),
            "{number} of {from} after {before:?}"
        );
    }
}

fn crowd(queue: Queue<Parcel>) {
    let consumers: Vec<_> = (0..CONSUMERS)
        .map(|_| Process::new(consume, queue.clone()).start().unwrap())
        .collect();
    let producers: Vec<_> = (0..PRODUCERS)
        .map(|from| {
            Process::new(produce, (queue.clone(), from))
                .start()
                .unwrap()
        })
        .collect();
    for producer in producers {
        producer.join().unwrap();
    }
    queue.close();
    let mut all = Vec::new();
    for consumer in consumers {
        let got = consumer.result().unwrap();
        in_order(&got);
        all.extend(got);
    }
    all.sort_unstable();
    let put: Vec<_> = (0..PRODUCERS)
        .flat_map(|from| (0..EACH).map(move |number| (from, number)))
        .collect();
    assert_eq!(all.len(), put.len());
    assert_eq!(all, put);
    assert!(queue.is_empty());
}

#[test]
fn many_processes_without_bound() {
    crowd(Queue::new().unwrap());
}

#[test]
fn many_processes_with_room_for_seven() {
    crowd(Queue::bounded(7).unwrap());
}

#[test]
fn many_processes_with_room_for_one() {
    crowd(Queue::bounded(1).unwrap());
}

#[test]
fn many_threads_of_one_process_in_batches() {
    let queue = Queue::bounded(100).unwrap();
    std::thread::scope(|scope| {
        let consumers: Vec<_> = (0..CONSUMERS)
            .map(|_| {
                scope.spawn(|| {
                    let mut got = Vec::new();
                    while let Ok(batch) = queue.get_many(37) {
                        for parcel in batch {
                            let parcel: Parcel = parcel.unwrap();
                            parcel.check();
                            got.push((parcel.from, parcel.number));
                        }
                    }
                    got
                })
            })
            .collect();
        let producers: Vec<_> = (0..PRODUCERS)
            .map(|from| {
                let queue = &queue;
                scope.spawn(move || {
                    let all: Vec<_> = (0..EACH)
                        .map(|number| Parcel::new(from, number, length(number)))
                        .collect();
                    assert_eq!(queue.put_many(&all).unwrap(), EACH as usize);
                })
            })
            .collect();
        for producer in producers {
            producer.join().unwrap();
        }
        queue.close();
        let mut all = 0;
        for consumer in consumers {
            let got = consumer.join().unwrap();
            in_order(&got);
            all += got.len();
        }
        assert_eq!(all, (PRODUCERS * EACH) as usize);
    });
}

#[test]
fn one_thread_gets_what_it_put_in_order() {
    let queue = Queue::<u64>::new().unwrap();
    for round in 0..3 {
        // Many segments, then back to one.
        for number in 0..20_000 {
            queue.put(&(round + number)).unwrap();
        }
        assert_eq!(queue.qsize(), 20_000);
        assert!(!queue.is_empty() && !queue.is_full());
        for number in 0..20_000 {
            assert_eq!(queue.get().unwrap(), round + number);
        }
        assert!(queue.is_empty());
    }
}

#[test]
fn two_queues_are_two() {
    let (one, other) = (Queue::new().unwrap(), Queue::new().unwrap());
    assert!(!one.same(&other) && one.same(&one.clone()));
    for number in 0..5000u32 {
        one.put(&number).unwrap();
        other.put(&(number + 1)).unwrap();
    }
    for number in 0..5000 {
        assert_eq!(one.get().unwrap() + 1, other.get().unwrap());
        assert_eq!(one.qsize(), 4999 - number);
    }
}

fn echo((words, answers): (SimpleQueue<String>, SimpleQueue<usize>)) {
    while let Ok(word) = words.get() {
        answers.put(&word.len()).unwrap();
    }
}

#[test]
fn a_simple_queue_works_as_the_other_does() {
    let (words, answers) = (SimpleQueue::new().unwrap(), SimpleQueue::new().unwrap());
    let child = Process::new(echo, (words.clone(), answers.clone()))
        .start()
        .unwrap();
    for length in [0, 1, 7, 70_000] {
        words.put(&"x".repeat(length)).unwrap();
        assert_eq!(answers.get().unwrap(), length);
    }
    words.close();
    child.join().unwrap();
    assert!(words.is_empty() && answers.is_empty());
}
