//! Many messages at once, and one bad one among them.

use allcores::multiprocessing::queue::{GetError, PutError};
use allcores::multiprocessing::{Process, Queue};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use super::util::{process_asleep, sleeping_in};

/// A number that is hard to serialise where it is 13, and to deserialise where it is 31.
#[derive(Clone, Debug, PartialEq)]
struct Fussy(u32, Vec<u8>);

impl Fussy {
    fn new(number: u32, length: usize) -> Fussy {
        Fussy(number, vec![number as u8; length])
    }
}

impl Serialize for Fussy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 == 13 {
            return Err(ser::Error::custom("thirteen"));
        }
        (self.0, &self.1).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Fussy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Fussy, D::Error> {
        let (number, filling) = Deserialize::deserialize(deserializer)?;
        if number == 31 {
            return Err(de::Error::custom("thirty-one"));
        }
        Ok(Fussy(number, filling))
    }
}

#[test]
fn one_that_does_not_serialise_ends_the_batch() {
    for length in [0, 5000, 40_000] {
        let queue = Queue::new().unwrap();
        let values: Vec<_> = (10..20).map(|number| Fussy::new(number, length)).collect();
        let error = queue.put_many(&values).unwrap_err();
        assert_eq!(error.put, 3, "{error}");
        assert!(matches!(error.reason, PutError::Encode { .. }), "{error:?}");
        assert!(error.reason.to_string().contains("Fussy"), "{error}");
        assert_eq!(queue.qsize(), 3);
        for number in 10..13 {
            assert_eq!(queue.get().unwrap(), Fussy::new(number, length));
        }
        assert!(matches!(
            queue.put(&values[3]),
            Err(PutError::Encode { .. })
        ));
        queue.put(&values[4]).unwrap();
        assert_eq!(queue.get().unwrap(), values[4]);
        assert!(queue.is_empty());
    }
}

#[test]
fn one_that_does_not_decode_is_an_error_of_its_own() {
    for length in [0, 5000, 40_000] {
        let queue = Queue::new().unwrap();
        let values: Vec<_> = (30..33).map(|number| Fussy::new(number, length)).collect();
        assert_eq!(queue.put_many(&values).unwrap(), 3);
        let mut got = queue.get_many(10).unwrap();
        assert_eq!(got.len(), 3);
        assert_eq!(got.next().unwrap().unwrap(), values[0]);
        let error = got.next().unwrap().unwrap_err();
        assert!(matches!(error, GetError::Decode { .. }), "{error:?}");
        assert!(error.to_string().contains("Fussy"), "{error}");
        assert_eq!(got.next().unwrap().unwrap(), values[2]);
        assert!(got.next().is_none());
        drop(got);
        queue.put_many(&values).unwrap();
        assert_eq!(queue.get().unwrap(), values[0]);
        assert!(matches!(queue.get(), Err(GetError::Decode { .. })));
        assert_eq!(queue.get().unwrap(), values[2]);
    }
}

#[test]
fn bytes_that_are_no_such_value() {
    let queue = Queue::<Vec<String>>::new().unwrap();
    queue.put_bytes(&[0xff; 9]).unwrap();
    queue.put_bytes(&[]).unwrap();
    queue.put(&vec!["good".into()]).unwrap();
    assert!(matches!(queue.get(), Err(GetError::Decode { .. })));
    assert!(matches!(queue.get(), Err(GetError::Decode { .. })));
    assert_eq!(queue.get().unwrap(), ["good"]);
}

#[test]
fn as_many_as_are_asked_for_and_no_more() {
    let queue = Queue::new().unwrap();
    assert_eq!(queue.put_many(&[0u32; 0]).unwrap(), 0);
    assert!(queue.is_empty());
    queue.put_many(&(0..10).collect::<Vec<u32>>()).unwrap();
    let first: Vec<_> = queue.get_many(4).unwrap().map(Result::unwrap).collect();
    assert_eq!(first, [0, 1, 2, 3]);
    assert_eq!(queue.qsize(), 6);
    // Out of the queue, and lost.
    drop(queue.get_many(2).unwrap());
    let rest: Vec<_> = queue
        .get_many(usize::MAX)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(rest, [6, 7, 8, 9]);
}

#[test]
fn more_than_there_is_room_for() {
    let queue = Queue::bounded(3).unwrap();
    let values: Vec<u32> = (0..1000).collect();
    let putter = sleeping_in({
        let (queue, values) = (queue.clone(), values.clone());
        move || queue.put_many(&values).unwrap()
    });
    let mut got = Vec::new();
    while got.len() < values.len() {
        assert!(queue.qsize() <= 3);
        got.extend(queue.get_many(2).unwrap().map(Result::unwrap));
    }
    assert_eq!(putter.join().unwrap(), 1000);
    assert_eq!(got, values);
}

#[test]
fn large_and_small_in_one_batch_over_many_segments() {
    let queue = Queue::new().unwrap();
    let lengths = [10, 20_000, 3, 16_000, 16_384, 70_000, 0, 200_000, 1];
    let values: Vec<Fussy> = (100..400)
        .map(|number| Fussy::new(number, lengths[number as usize % lengths.len()]))
        .collect();
    assert_eq!(queue.put_many(&values).unwrap(), values.len());
    let got: Vec<_> = queue.get_many(1000).unwrap().map(Result::unwrap).collect();
    assert!(got == values);
}

/// What the iterator of values does with the queue is its own affair.
#[test]
fn a_queue_may_be_used_while_it_is_put_into() {
    let queue = Queue::new().unwrap();
    let values = [1u32, 2, 3];
    let put = queue
        .put_many(
            values
                .iter()
                .inspect(|value| queue.put(&(*value * 10)).unwrap()),
        )
        .unwrap();
    assert_eq!(put, 3);
    let got: Vec<_> = queue.get_many(10).unwrap().map(Result::unwrap).collect();
    assert_eq!(got, [10, 20, 30, 1, 2, 3]);
}

fn take_batches(queue: Queue<u32>) -> (usize, u64) {
    let (mut count, mut sum) = (0, 0);
    while let Ok(batch) = queue.get_many(64) {
        for value in batch {
            count += 1;
            sum += u64::from(value.unwrap());
        }
    }
    (count, sum)
}

#[test]
fn batches_to_two_processes() {
    let queue = Queue::bounded(50).unwrap();
    let consumers: Vec<_> = (0..2)
        .map(|_| Process::new(take_batches, queue.clone()).start().unwrap())
        .collect();
    consumers.iter().for_each(process_asleep);
    let values: Vec<u32> = (0..20_000).collect();
    assert_eq!(queue.put_many(&values).unwrap(), values.len());
    queue.close();
    let (mut count, mut sum) = (0, 0);
    for consumer in consumers {
        let (some, total) = consumer.result().unwrap();
        count += some;
        sum += total;
    }
    assert_eq!((count, sum), (20_000, 19_999 * 10_000));
}
