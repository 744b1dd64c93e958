//! Value and Array, with their lock and without: across processes, when holders die, and as messages.

use std::sync::atomic::{AtomicBool, Ordering::*};

use allcores::multiprocessing::{
    Array, ArrayError, Condition, Event, Lock, Pipe, Process, RawArray, RawValue, SimplexPipe,
    Value,
};
use allcores::shm::{Arena, Shareable, ShmError, map_common_again};

const CHILDREN: usize = 3;
const ROUNDS: u64 = 2_000;

fn count(value: Value<u64>, array: Array<u32>, raw: RawArray<u64>, one: RawValue<u32>) {
    for round in 0..ROUNDS {
        value.update(|n| *n += 1).unwrap();
        let mut guard = array.acquire().unwrap();
        for n in guard.iter_mut() {
            *n += 1;
        }
        drop(guard);
        raw.atomics()[round as usize % raw.len()].fetch_add(1, Relaxed);
        one.atomic().fetch_add(1, Relaxed);
    }
}

fn count_all(all: (Value<u64>, Array<u32>, RawArray<u64>, RawValue<u32>)) {
    count(all.0, all.1, all.2, all.3);
}

fn counted_by_all(arena: Option<&Arena>) {
    let all = match arena {
        None => (
            Value::new(0u64).unwrap(),
            Array::<u32>::new(10).unwrap(),
            RawArray::<u64>::new(4).unwrap(),
            RawValue::new(0u32).unwrap(),
        ),
        Some(arena) => (
            Value::new_in(arena, 0u64).unwrap(),
            Array::<u32>::new_in(arena, 10).unwrap(),
            RawArray::<u64>::new_in(arena, 4).unwrap(),
            RawValue::new_in(arena, 0u32).unwrap(),
        ),
    };
    let children: Vec<_> = (0..CHILDREN)
        .map(|_| Process::new(count_all, all.clone()).start().unwrap())
        .collect();
    for child in &children {
        child.join().unwrap();
    }
    let total = CHILDREN as u64 * ROUNDS;
    assert_eq!(all.0.get().unwrap(), total);
    assert_eq!(all.1.to_vec().unwrap(), [total as u32; 10]);
    assert_eq!(all.2.to_vec(), [total / 4; 4]);
    assert_eq!(all.3.get(), total as u32);
}

#[test]
fn many_processes_count_together() {
    counted_by_all(None);
}

#[test]
fn many_processes_count_together_in_a_separate_arena() {
    counted_by_all(Some(&Arena::new().unwrap()));
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
enum End {
    /// Waits inside to be killed.
    Killed,
    /// Ends in the ordinary way, without releasing.
    Left,
    /// Releases before it ends.
    Orderly,
}

/// Writes half of both and then comes to its end.
fn half_way((value, array, half, end): (Value<[u64; 2]>, Array<u32>, Event, End)) {
    let mut pair = value.acquire().unwrap();
    let mut elements = array.acquire().unwrap();
    pair[0] = 1;
    elements[..2].fill(1);
    match end {
        End::Killed => {
            half.set();
            loop {
                std::thread::park();
            }
        }
        End::Left => std::mem::forget((pair, elements)),
        End::Orderly => {
            pair[1] = 1;
            elements.fill(1);
        }
    }
}

fn after(end: End) -> (Value<[u64; 2]>, Array<u32>) {
    let (value, array) = (Value::new([0u64; 2]).unwrap(), Array::new(4).unwrap());
    let half = Event::new().unwrap();
    let all = (value.clone(), array.clone(), half.clone(), end);
    let child = Process::new(half_way, all).start().unwrap();
    if end == End::Killed {
        half.wait();
        child.kill().unwrap();
        assert!(child.join().is_err());
    } else {
        child.join().unwrap();
    }
    (value, array)
}

#[test]
fn whoever_comes_after_a_dead_holder_is_told() {
    for end in [End::Killed, End::Left] {
        let (value, array) = after(end);
        // The short forms do nothing, and say why.
        let told = value.get().unwrap_err();
        assert!(told.to_string().contains("acquire() it"), "{told}");
        assert!(value.set([7; 2]).is_err());
        assert!(value.update(|_| unreachable!()).is_err());
        assert!(matches!(array.get(0), Err(ArrayError::HolderDied(_))));
        assert!(matches!(array.set(0, 7), Err(ArrayError::HolderDied(_))));
        assert!(matches!(array.swap(0, 3), Err(ArrayError::HolderDied(_))));
        assert!(array.copy_from_slice(&[7; 4]).is_err());
        assert!(array.copy_to_slice(&mut [7; 4]).is_err());
        assert!(array.to_vec().is_err());
        assert!(!array.locked(), "the short forms have released it");
        // The guard shows what is there, and mends it.
        let mut pair = value.acquire().unwrap_err().recover();
        assert_eq!(*pair, [1, 0]);
        pair[1] = pair[0];
        drop(pair);
        let mut elements = array.acquire().unwrap_err().recover();
        assert_eq!(*elements, [1, 1, 0, 0]);
        elements.fill(1);
        drop(elements);
        assert_eq!(value.get(), Ok([1, 1]));
        assert_eq!(array.to_vec(), Ok(vec![1; 4]));
    }
}

#[test]
fn whoever_comes_after_an_orderly_holder_is_told_nothing() {
    let (value, array) = after(End::Orderly);
    assert_eq!(value.get(), Ok([1, 1]));
    assert_eq!(array.to_vec(), Ok(vec![1; 4]));
}

#[test]
fn the_first_to_find_out_learns_who_died() {
    let array = Array::<u8>::new(1).unwrap();
    let child = Process::new(leave_locked, array.clone()).start().unwrap();
    let pid = child.pid();
    child.join().unwrap();
    let died = array.try_acquire().unwrap_err();
    assert_eq!(died.pid(), Some(pid));
    drop(died);
    assert_eq!(array.try_acquire().unwrap_err().pid(), None);
}

fn leave_locked(array: Array<u8>) {
    std::mem::forget(array.acquire().unwrap());
}

#[test]
fn a_panic_inside_counts_as_a_death() {
    let (value, array) = (Value::new(0u8).unwrap(), Array::<u8>::new(1).unwrap());
    let inside = std::panic::AssertUnwindSafe(|| value.update(|_| panic!("inside")));
    assert!(std::panic::catch_unwind(inside).is_err());
    let inside = std::panic::AssertUnwindSafe(|| array.update(|_| panic!("inside")));
    assert!(std::panic::catch_unwind(inside).is_err());
    assert!(value.get().is_err());
    assert!(array.get(0).is_err());
    drop(value.acquire().unwrap_err().recover());
    drop(array.acquire().unwrap_err().recover());
    assert!(value.get().is_ok());
    assert!(array.get(0).is_ok());
}

#[test]
fn the_lock_is_a_lock() {
    let array = Array::<u8>::new(3).unwrap();
    let guard = array.acquire().unwrap();
    let other = array.clone();
    std::thread::scope(|scope| {
        let tried = scope.spawn(|| other.try_acquire().unwrap().is_none());
        assert!(tried.join().unwrap());
        let timed = || other.acquire_timeout(std::time::Duration::from_millis(1));
        assert!(
            scope
                .spawn(move || timed().unwrap().is_none())
                .join()
                .unwrap()
        );
    });
    drop(guard);
    assert!(other.try_acquire().unwrap().is_some());
}

#[test]
fn elements_are_reached_by_index_and_in_bulk() {
    let array = Array::from_slice(&[1i16, 2, 3]).unwrap();
    let raw = RawArray::from_slice(&[1i16, 2, 3]).unwrap();
    assert_eq!((array.len(), raw.len()), (3, 3));
    array.set(2, 9).unwrap();
    raw.set(2, 9).unwrap();
    assert_eq!((array.get(2), raw.get(2)), (Ok(9), Ok(9)));
    array.swap(0, 2).unwrap();
    assert_eq!(array.to_vec().unwrap(), [9, 2, 1]);
    let outside = ArrayError::OutOfBounds { index: 3, len: 3 };
    assert_eq!(array.get(3), Err(outside));
    assert_eq!(array.set(3, 0), Err(outside));
    assert_eq!(array.swap(0, 3), Err(outside));
    assert_eq!(array.swap(3, 0), Err(outside));
    assert_eq!(raw.get(3), Err(outside));
    assert_eq!(raw.set(3, 0), Err(outside));
    let unequal = ArrayError::Length { slice: 2, len: 3 };
    assert_eq!(array.copy_from_slice(&[0; 2]), Err(unequal));
    assert_eq!(array.copy_to_slice(&mut [0; 2]), Err(unequal));
    assert_eq!(raw.copy_from_slice(&[0; 2]), Err(unequal));
    assert_eq!(raw.copy_to_slice(&mut [0; 2]), Err(unequal));
    array.copy_from_slice(&[4, 5, 6]).unwrap();
    raw.copy_from_slice(&[4, 5, 6]).unwrap();
    let (mut a, mut b) = ([0; 3], [0; 3]);
    array.copy_to_slice(&mut a).unwrap();
    raw.copy_to_slice(&mut b).unwrap();
    assert_eq!((a, b), ([4, 5, 6], [4, 5, 6]));
    assert_eq!(raw.iter().sum::<i16>(), 15);
    // SAFETY: nobody else has the array.
    assert_eq!(unsafe { raw.as_slice() }, [4, 5, 6]);
    let none = Array::<u64>::new(0).unwrap();
    assert!(none.is_empty());
    assert_eq!(none.acquire().unwrap().len(), 0);
}

fn every_size<const N: usize>() {
    let raw = RawArray::<[u8; N]>::new(9).unwrap();
    for index in 0..9 {
        let element = std::array::from_fn(|n| (n * 7 + index * 31 + 1) as u8);
        raw.set(index, element).unwrap();
        assert_eq!(raw.get(index).unwrap(), element);
        let expected = |at| {
            if at <= index {
                std::array::from_fn(|n| (n * 7 + at * 31 + 1) as u8)
            } else {
                [0; N]
            }
        };
        // The neighbours are as they were.
        assert_eq!(raw.to_vec(), (0..9).map(expected).collect::<Vec<_>>());
    }
}

#[test]
fn copies_are_right_at_every_size_and_place() {
    every_size::<1>();
    every_size::<2>();
    every_size::<3>();
    every_size::<5>();
    every_size::<7>();
    every_size::<8>();
    every_size::<9>();
    every_size::<15>();
    every_size::<17>();
    every_size::<31>();
}

#[test]
fn numbers_are_copied_whole() {
    fn whole<T: Shareable + Copy + Sync + PartialEq + std::fmt::Debug>(a: T, b: T) {
        let (value, array) = (
            RawValue::new(a).unwrap(),
            RawArray::from_slice(&[a; 3]).unwrap(),
        );
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..20_000 {
                    value.set(b);
                    array.copy_from_slice(&[b; 3]).unwrap();
                    value.set(a);
                    array.copy_from_slice(&[a; 3]).unwrap();
                }
                done.store(true, Release);
            });
            while !done.load(Acquire) {
                let seen = value.get();
                assert!(seen == a || seen == b, "{seen:?}");
                for seen in array.iter() {
                    assert!(seen == a || seen == b, "{seen:?}");
                }
            }
        });
    }
    whole(0u64, u64::MAX);
    whole(1.0f64, -2.5);
    whole(0u16, u16::MAX);
}

#[test]
fn they_travel_and_stay_themselves() {
    type All = (Value<u64>, RawValue<u64>, Array<u32>, RawArray<u32>);
    let (a, b) = Pipe::<All, ()>().unwrap();
    let all: All = (
        Value::new(1).unwrap(),
        RawValue::new(2).unwrap(),
        Array::from_slice(&[3; 5]).unwrap(),
        RawArray::from_slice(&[4; 6]).unwrap(),
    );
    a.send(&all).unwrap();
    let got = b.recv().unwrap();
    assert!(got.0.same(&all.0) && got.1.same(&all.1));
    assert!(got.2.same(&all.2) && got.3.same(&all.3));
    assert_eq!((got.2.len(), got.3.len()), (5, 6));
    // On its way a message keeps what it names.
    a.send(&all).unwrap();
    drop((all, got));
    let others: Vec<_> = (0..50)
        .map(|n| Array::from_slice(&[n; 5]).unwrap())
        .collect();
    let got = b.recv().unwrap();
    assert_eq!(got.0.get().unwrap(), 1);
    assert_eq!(got.1.get(), 2);
    assert_eq!(got.2.to_vec().unwrap(), [3; 5]);
    assert_eq!(got.3.to_vec(), [4; 6]);
    drop(others);
}

/// What becomes of a handle's bytes where somebody expects another one.
fn taken_for<A: serde::Serialize + serde::de::DeserializeOwned, B>(sent: A) -> String
where
    B: serde::Serialize + serde::de::DeserializeOwned + std::fmt::Debug,
{
    let (reader, writer) = SimplexPipe::<A>().unwrap();
    writer.send(&sent).unwrap();
    let bytes = reader.recv_bytes().unwrap();
    let (reader, writer) = SimplexPipe::<B>().unwrap();
    writer.send_bytes(&bytes).unwrap();
    reader.recv().unwrap_err().to_string()
}

#[test]
fn the_wrong_type_is_refused() {
    let refused = taken_for::<_, Array<f32>>(Array::<u32>::new(8).unwrap());
    assert!(refused.contains("Array of u32, not of f32"), "{refused}");
    let refused = taken_for::<_, Value<i64>>(Value::new(0u64).unwrap());
    assert!(refused.contains("Value of u64, not of i64"), "{refused}");
    let refused = taken_for::<_, Array<u64>>(Array::<[u16; 2]>::new(8).unwrap());
    assert!(
        refused.contains("4-byte elements, not of 8-byte"),
        "{refused}"
    );
    let refused = taken_for::<_, RawArray<u8>>(RawArray::<u32>::new(8).unwrap());
    assert!(refused.contains("RawArray of u32, not of u8"), "{refused}");
    // An array under a lock must not be had without it.
    let refused = taken_for::<_, RawArray<u32>>(Array::<u32>::new(8).unwrap());
    assert!(refused.contains("not a RawArray"), "{refused}");
    let refused = taken_for::<_, RawValue<u64>>(Value::new(1u64).unwrap());
    assert!(refused.contains("not a RawValue"), "{refused}");
    let refused = taken_for::<_, Lock<u64>>(Value::new(1u64).unwrap());
    assert!(refused.contains("names a Value"), "{refused}");
    let refused = taken_for::<_, Value<u32>>(Value::new([1u64; 2]).unwrap());
    assert!(refused.contains("Value of"), "{refused}");
}

#[test]
fn conditions_wait_with_them() {
    let (value, array) = (Value::new(0u8).unwrap(), Array::<u8>::new(2).unwrap());
    let (first, second) = (Condition::new().unwrap(), Condition::new().unwrap());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut guard = value.acquire().unwrap();
            *guard = 1;
            first.notify_one(&guard).unwrap();
            drop(guard);
            let mut guard = array.acquire().unwrap();
            guard[1] = 1;
            second.notify_one(&guard).unwrap();
        });
        let mut guard = value.acquire().unwrap();
        first.wait_for(&mut guard, |n| **n == 1).unwrap();
        drop(guard);
        let mut guard = array.acquire().unwrap();
        second.wait_for(&mut guard, |n| n[1] == 1).unwrap();
    });
}

#[test]
fn two_mappings_show_the_same() {
    let (value, array) = (
        Value::new(1u8).unwrap(),
        Array::from_slice(&[1u64; 9]).unwrap(),
    );
    let scope = map_common_again().unwrap();
    let (there, elements) = (value.through(scope).unwrap(), array.through(scope).unwrap());
    there.set(2).unwrap();
    elements.set(8, 2).unwrap();
    assert_eq!(value.get(), Ok(2));
    assert_eq!(array.get(8), Ok(2));
    let guard = array.acquire().unwrap();
    assert!(elements.try_acquire().unwrap().is_none());
    drop(guard);
}

#[test]
fn what_cannot_be_had_is_an_error() {
    let refused = Array::<u64>::new(1 << 27).unwrap_err();
    assert!(matches!(refused, ShmError::TooLarge { .. }), "{refused}");
    let refused = Array::<u64>::new(usize::MAX).unwrap_err();
    assert!(matches!(refused, ShmError::TooLarge { .. }), "{refused}");
    let refused = RawArray::<[u8; 3]>::new(usize::MAX / 3).unwrap_err();
    assert!(refused.to_string().contains("SharedMemory"), "{refused}");
}
