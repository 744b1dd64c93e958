//! The arena against a model: whatever is made, cloned, sent, received, lost and dropped, in whatever order, there are as
//! many cells and pins as there should be, and no two things lie over each other.

mod turn;

use std::collections::VecDeque;

use allcores::multiprocessing::connection::{Codec, Compact};
use allcores::multiprocessing::{Connection, Lock, Never, SimplexPipe};
use allcores::shm::{Image, usage};
use proptest::prelude::*;
use proptest::sample::Index;
use serde::{Deserialize, Serialize};
use turn::turn;

/// Things of different sizes, so that cells of several classes come and go.
#[derive(Clone, Serialize, Deserialize)]
enum Thing {
    Small(Lock<u64>),
    Middle(Lock<[u64; 9]>),
    Large(Lock<[u64; 300]>),
    /// Larger than what gives its memory back when it is free.
    Big(Lock<[u64; 9000]>),
}

impl Thing {
    fn new(size: u8, number: u64) -> Thing {
        match size {
            0 => Thing::Small(Lock::new(number).unwrap()),
            1 => Thing::Middle(Lock::new([number; 9]).unwrap()),
            2 => Thing::Large(Lock::new([number; 300]).unwrap()),
            _ => Thing::Big(Lock::new([number; 9000]).unwrap()),
        }
    }

    /// Whether every word of it is as it was written.
    fn holds(&self, number: u64) -> bool {
        match self {
            Thing::Small(lock) => *lock.acquire().unwrap() == number,
            Thing::Middle(lock) => *lock.acquire().unwrap() == [number; 9],
            Thing::Large(lock) => *lock.acquire().unwrap() == [number; 300],
            Thing::Big(lock) => *lock.acquire().unwrap() == [number; 9000],
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Make(u8),
    Clone(Index),
    Drop(Index),
    Send(Index),
    Receive,
    /// A message is read by somebody who does not open what it names.
    Lose,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0u8..4).prop_map(Step::Make),
        1 => any::<Index>().prop_map(Step::Clone),
        3 => any::<Index>().prop_map(Step::Drop),
        2 => any::<Index>().prop_map(Step::Send),
        2 => Just(Step::Receive),
        1 => Just(Step::Lose),
    ]
}

/// What should be there.
struct Model {
    /// Each handle that we hold, and the number of its thing.
    held: Vec<(Thing, u64)>,
    /// The numbers of the things on their way.
    on_the_way: VecDeque<u64>,
    /// The numbers that lost messages keep.
    lost: Vec<u64>,
    next: u64,
}

impl Model {
    fn cells(&self) -> usize {
        let mut numbers: Vec<u64> = self.held.iter().map(|(_, number)| *number).collect();
        numbers.extend(&self.on_the_way);
        numbers.extend(&self.lost);
        numbers.sort_unstable();
        numbers.dedup();
        numbers.len()
    }

    fn pins(&self) -> usize {
        self.on_the_way.len() + self.lost.len()
    }

    fn take(
        &mut self,
        step: Step,
        writer: &Connection<Thing, Never>,
        reader: &Connection<Never, Thing>,
    ) {
        match step {
            Step::Make(size) => {
                self.held.push((Thing::new(size, self.next), self.next));
                self.next += 1;
            }
            Step::Clone(which) if !self.held.is_empty() => {
                self.held.push(which.get(&self.held).clone());
            }
            Step::Drop(which) if !self.held.is_empty() => {
                self.held.swap_remove(which.index(self.held.len()));
            }
            Step::Send(which) if !self.held.is_empty() => {
                let (thing, number) = which.get(&self.held);
                writer.send(thing).unwrap();
                self.on_the_way.push_back(*number);
            }
            Step::Receive => {
                if let Some(number) = self.on_the_way.pop_front() {
                    self.held.push((reader.recv().unwrap(), number));
                }
            }
            Step::Lose => {
                if let Some(number) = self.on_the_way.pop_front() {
                    reader.recv_bytes().unwrap();
                    self.lost.push(number);
                }
            }
            _ => {}
        }
    }
}

/// A handle as it travels over a pipe: arena, place, generation, kind, pin; and no descriptor.
type Wire = (([u8; 16], u32, u32, u32, (u32, u32)), Option<u32>);

#[test]
fn a_handle_made_of_two_is_refused() {
    let _turn = turn();
    let (reader, writer) = SimplexPipe::<Lock<u64>>().unwrap();
    // Two of the same generation, whatever cells other tests have used before.
    let mut sent: Vec<(Wire, Lock<u64>)> = Vec::new();
    let ((one, _), (other, _), locks) = loop {
        let lock = Lock::new(1).unwrap();
        writer.send(&lock).unwrap();
        let wire = Compact::decode::<Wire>(&reader.recv_bytes().unwrap()).unwrap();
        let same = |(known, _): &(Wire, Lock<u64>)| known.0.2 == wire.0.2;
        match sent.iter().position(same) {
            Some(place) => {
                let (known, first) = sent.swap_remove(place);
                break (known, wire, [first, lock]);
            }
            None => sent.push((wire, lock)),
        }
    };
    assert_eq!((one.0, one.2, one.3), (other.0, other.2, other.3));
    // The place of one with the pin of the other.
    let mixed: Wire = ((one.0, one.1, one.2, one.3, other.4), None);
    writer
        .send_bytes(&Compact::encode(&mixed, Vec::new()).unwrap())
        .unwrap();
    let refused = reader.recv().unwrap_err().to_string();
    assert!(refused.contains("stale"), "{refused}");
    // Each is as good as ever.
    for (wire, lock) in [(one, &locks[0]), (other, &locks[1])] {
        let wire: Wire = (wire, None);
        writer
            .send_bytes(&Compact::encode(&wire, Vec::new()).unwrap())
            .unwrap();
        assert!(reader.recv().unwrap().same(lock));
    }
}

#[test]
fn what_is_free_is_used_again() {
    let _turn = turn();
    let round = || drop((0..40).map(|n| Thing::new(n % 4, 1)).collect::<Vec<_>>());
    round();
    let words = Image::of_common().unwrap().words().len();
    (0..20).for_each(|_| round());
    assert_eq!(Image::of_common().unwrap().words().len(), words);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn as_many_cells_and_pins_as_there_should_be(steps in prop::collection::vec(step(), 1..60)) {
        let _turn = turn();
        let (reader, writer) = SimplexPipe::<Thing>().unwrap();
        let (cells, _, pins) = usage().unwrap();
        let mut model = Model { held: vec![], on_the_way: VecDeque::new(), lost: vec![], next: 1 };
        for step in steps {
            model.take(step, &writer, &reader);
            let (cells_now, _, pins_now) = usage().unwrap();
            prop_assert_eq!((cells_now - cells, pins_now - pins), (model.cells(), model.pins()));
        }
        for (thing, number) in &model.held {
            prop_assert!(thing.holds(*number), "thing {} has changed", number);
        }
        model.held.clear();
        while !model.on_the_way.is_empty() {
            model.take(Step::Receive, &writer, &reader);
        }
        model.held.clear();
        let (cells_now, _, pins_now) = usage().unwrap();
        prop_assert_eq!((cells_now - cells, pins_now - pins), (model.cells(), model.pins()));
    }

    #[test]
    fn a_damaged_handle_is_refused_or_is_itself(
        damage in prop::collection::vec((any::<Index>(), any::<u8>()), 1..4),
        cut in prop::option::of(any::<Index>()),
    ) {
        let _turn = turn();
        let (reader, writer) = SimplexPipe::<Thing>().unwrap();
        let things: Vec<_> = (0..3).map(|size| Thing::new(size, 7)).collect();
        let mut messages: Vec<_> = things
            .iter()
            .map(|thing| {
                writer.send(thing).unwrap();
                reader.recv_bytes().unwrap()
            })
            .collect();
        let message = &mut messages[1];
        for (place, byte) in damage {
            *place.get_mut(message) = byte;
        }
        if let Some(cut) = cut {
            message.truncate(cut.index(message.len()));
        }
        writer.send_bytes(message).unwrap();
        // A typed error, or the very thing; also where another one's handle lies right beside it.
        if let Ok(thing) = reader.recv() {
            let (Thing::Middle(found), Thing::Middle(sent)) = (&thing, &things[1]) else {
                panic!("it has become another thing");
            };
            prop_assert!(found.same(sent));
        }
        // The others' messages are as good as ever. What the damaged one kept is lost.
        for number in [0, 2] {
            writer.send_bytes(&messages[number]).unwrap();
            prop_assert!(reader.recv().unwrap().holds(7));
        }
    }
}
