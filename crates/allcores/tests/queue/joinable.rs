//! `task_done` and `join`: what is done, what will be, and what never will.

use std::time::Duration;

use allcores::multiprocessing::queue::{ItemsLost, TooManyDone};
use allcores::multiprocessing::{JoinableQueue, Process, SimpleQueue};

use super::util::{asleep, kill, patience, sleeping_in, tid};

/// What a consumer is told to do.
const GET: u8 = 0;
const DONE: u8 = 1;
const END: u8 = 2;

type Ends = (JoinableQueue<u32>, SimpleQueue<u8>, SimpleQueue<u32>);

fn obey((queue, orders, answers): Ends) {
    loop {
        let answer = match orders.get().unwrap() {
            GET => queue.get().unwrap(),
            DONE => {
                queue.task_done().unwrap();
                0
            }
            _ => return,
        };
        answers.put(&answer).unwrap();
    }
}

/// A consumer in a process of its own, led by hand.
struct Consumer {
    process: Process<()>,
    orders: SimpleQueue<u8>,
    answers: SimpleQueue<u32>,
}

impl Consumer {
    fn of(queue: &JoinableQueue<u32>) -> Consumer {
        let (orders, answers) = (SimpleQueue::new().unwrap(), SimpleQueue::new().unwrap());
        let ends = (queue.clone(), orders.clone(), answers.clone());
        let process = Process::new(obey, ends).start().unwrap();
        Consumer {
            process,
            orders,
            answers,
        }
    }

    fn does(&self, order: u8) -> u32 {
        self.orders.put(&order).unwrap();
        self.answers.get().unwrap()
    }

    fn falls(self) {
        kill(self.process);
    }

    fn ends(self) {
        self.orders.put(&END).unwrap();
        self.process.join().unwrap();
    }
}

fn join(queue: &JoinableQueue<u32>) -> Result<bool, ItemsLost> {
    queue.join_timeout(patience())
}

type Joiner = std::thread::JoinHandle<Result<bool, ItemsLost>>;

fn joining(queue: &JoinableQueue<u32>) -> Joiner {
    let queue = queue.clone();
    sleeping_in(move || join(&queue))
}

#[test]
fn nothing_to_do_is_done() {
    let queue = JoinableQueue::<u32>::new().unwrap();
    queue.join().unwrap();
    assert_eq!(queue.unfinished_tasks(), 0);
    assert_eq!(queue.task_done(), Err(TooManyDone));
    queue.put(&1).unwrap();
    assert_eq!(queue.unfinished_tasks(), 1);
    assert_eq!(queue.join_timeout(Duration::from_millis(20)), Ok(false));
    queue.get().unwrap();
    assert_eq!(queue.join_timeout(Duration::ZERO), Ok(false));
    queue.task_done().unwrap();
    assert_eq!(queue.join_timeout(Duration::ZERO), Ok(true));
    assert_eq!(queue.task_done(), Err(TooManyDone));
    assert_eq!(queue.forget_lost(), 0);
    queue.join().unwrap();
}

#[test]
fn bounded_ones_are_full_as_others_are() {
    let queue = JoinableQueue::<u32>::bounded(1).unwrap();
    queue.put(&1).unwrap();
    assert!(queue.is_full() && queue.try_put(&2).is_err());
    queue.get().unwrap();
    // There is room although the first one is not done.
    queue.put(&2).unwrap();
    assert_eq!(queue.unfinished_tasks(), 2);
}

#[test]
fn those_who_join_are_woken_when_all_is_done() {
    let queue = JoinableQueue::new().unwrap();
    queue.put_many(&[1, 2, 3]).unwrap();
    let joiners = [joining(&queue), joining(&queue)];
    let consumers = [Consumer::of(&queue), Consumer::of(&queue)];
    assert_eq!(consumers[0].does(GET), 1);
    assert_eq!(consumers[1].does(GET), 2);
    assert_eq!(consumers[0].does(GET), 3);
    consumers[0].does(DONE);
    consumers[1].does(DONE);
    assert_eq!(queue.unfinished_tasks(), 1);
    assert!(joiners.iter().all(|joiner| !joiner.is_finished()));
    // On behalf of the other.
    consumers[1].does(DONE);
    for joiner in joiners {
        assert_eq!(joiner.join().unwrap(), Ok(true));
    }
    consumers.into_iter().for_each(Consumer::ends);
}

#[test]
fn one_is_killed_with_items() {
    let queue = JoinableQueue::new().unwrap();
    queue.put_many(&[1, 2, 3]).unwrap();
    let consumer = Consumer::of(&queue);
    consumer.does(GET);
    consumer.does(DONE);
    consumer.does(GET);
    consumer.does(GET);
    let joiner = joining(&queue);
    consumer.falls();
    assert_eq!(joiner.join().unwrap(), Err(ItemsLost { count: 2 }));
    assert_eq!(
        join(&queue),
        Err(ItemsLost { count: 2 }),
        "and so does every later one"
    );
    assert_eq!(queue.unfinished_tasks(), 2);
    assert_eq!(queue.forget_lost(), 2);
    assert_eq!(queue.forget_lost(), 0);
    assert_eq!(join(&queue), Ok(true));
    assert_eq!(queue.task_done(), Err(TooManyDone));
}

#[test]
fn one_forgets_and_comes_to_its_end() {
    let queue = JoinableQueue::new().unwrap();
    queue.put(&1).unwrap();
    let consumer = Consumer::of(&queue);
    consumer.does(GET);
    let joiner = joining(&queue);
    consumer.ends();
    assert_eq!(joiner.join().unwrap(), Err(ItemsLost { count: 1 }));
}

#[test]
fn one_lives_and_will_do_the_rest() {
    let queue = JoinableQueue::new().unwrap();
    queue.put_many(&[1, 2]).unwrap();
    let (dead, alive) = (Consumer::of(&queue), Consumer::of(&queue));
    dead.does(GET);
    alive.does(GET);
    dead.falls();
    // As long as it may do something, whether for itself or for the other, all is open.
    assert_eq!(queue.join_timeout(Duration::from_millis(60)), Ok(false));
    assert_eq!(queue.forget_lost(), 0);
    let joiner = joining(&queue);
    alive.does(DONE);
    assert_eq!(joiner.join().unwrap(), Err(ItemsLost { count: 1 }));
    alive.does(DONE);
    assert_eq!(join(&queue), Ok(true), "it has done the other's as well");
    alive.ends();
}

#[test]
fn what_is_in_the_queue_still_may_be_done() {
    let queue = JoinableQueue::new().unwrap();
    queue.put_many(&[1, 2]).unwrap();
    let consumer = Consumer::of(&queue);
    consumer.does(GET);
    consumer.falls();
    let joiner = joining(&queue);
    let heir = Consumer::of(&queue);
    assert_eq!(heir.does(GET), 2);
    heir.does(DONE);
    assert_eq!(joiner.join().unwrap(), Err(ItemsLost { count: 1 }));
    heir.ends();
}

#[test]
fn nobody_is_left_to_take_the_rest() {
    let queue = JoinableQueue::new().unwrap();
    queue.put_many(&[1, 2, 3]).unwrap();
    let consumer = Consumer::of(&queue);
    consumer.does(GET);
    let joiner = sleeping_in({
        let queue = queue.clone();
        move || (join(&queue), queue)
    });
    drop(queue);
    consumer.falls();
    let (joined, queue) = joiner.join().unwrap();
    assert_eq!(joined, Err(ItemsLost { count: 3 }));
    assert_eq!(queue.forget_lost(), 0, "the others are there still");
    assert_eq!((queue.get().unwrap(), queue.get().unwrap()), (2, 3));
    queue.task_done().unwrap();
    queue.task_done().unwrap();
    assert_eq!(join(&queue), Err(ItemsLost { count: 1 }));
    assert_eq!(queue.forget_lost(), 1);
    assert_eq!(join(&queue), Ok(true));
}

/// The place of a dead participant is another's soon.
#[test]
fn accounts_of_the_dead_do_not_burden_their_heirs() {
    let queue = JoinableQueue::new().unwrap();
    for lost in 1..=4 {
        queue.put_many(&[1, 2]).unwrap();
        let consumer = Consumer::of(&queue);
        consumer.does(GET);
        consumer.falls();
        let heir = Consumer::of(&queue);
        heir.does(GET);
        heir.does(DONE);
        assert_eq!(join(&queue), Err(ItemsLost { count: lost }));
        heir.ends();
    }
    assert_eq!(queue.forget_lost(), 4);
    assert_eq!(join(&queue), Ok(true));
}

/// One that does another's work, and then dies, has still done it.
#[test]
fn what_the_dead_did_for_others_stays_done() {
    let queue = JoinableQueue::new().unwrap();
    queue.put_many(&[1, 2, 3]).unwrap();
    let taker = Consumer::of(&queue);
    for _ in 0..3 {
        taker.does(GET);
    }
    let helper = Consumer::of(&queue);
    helper.does(DONE);
    helper.does(DONE);
    helper.falls();
    // Its place is taken.
    let next = Consumer::of(&queue);
    queue.put(&4).unwrap();
    next.does(GET);
    next.does(DONE);
    taker.does(DONE);
    assert_eq!(join(&queue), Ok(true));
    queue.put(&5).unwrap();
    next.does(GET);
    next.falls();
    assert_eq!(
        join(&queue),
        Err(ItemsLost { count: 1 }),
        "nobody has anything left to do"
    );
    taker.ends();
}

#[test]
fn two_forget_at_once() {
    for _ in 0..20 {
        let queue = JoinableQueue::new().unwrap();
        queue.put_many(&[1, 2, 3]).unwrap();
        let consumer = Consumer::of(&queue);
        for _ in 0..3 {
            consumer.does(GET);
        }
        consumer.falls();
        let barrier = std::sync::Barrier::new(2);
        let forgotten: usize = std::thread::scope(|scope| {
            let both = [(); 2].map(|()| {
                scope.spawn(|| {
                    barrier.wait();
                    queue.forget_lost()
                })
            });
            both.into_iter().map(|one| one.join().unwrap()).sum()
        });
        assert_eq!(forgotten, 3);
        assert_eq!(queue.unfinished_tasks(), 0);
    }
}

fn work_on((queue, _): (JoinableQueue<u32>, u8)) {
    while queue.get().is_ok() {
        queue.task_done().unwrap();
    }
}

/// Accounts move all the time while one who joins adds them up: nobody dies, so nothing is lost.
#[test]
fn nothing_is_lost_while_nobody_dies() {
    let queue = JoinableQueue::bounded(3).unwrap();
    let workers: Vec<_> = (0..3)
        .map(|_| {
            // They end with this one, whatever becomes of it.
            let worker = Process::new(work_on, (queue.clone(), 0)).daemon(true);
            worker.start().unwrap()
        })
        .collect();
    let (ready, is_ready) = std::sync::mpsc::channel();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let joiner = scope.spawn(|| {
            ready.send(tid()).unwrap();
            let mut joins = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                queue.join().unwrap();
                assert_eq!(queue.forget_lost(), 0);
                joins += 1;
            }
            joins
        });
        is_ready.recv().unwrap();
        for number in 0..6000 {
            queue.put(&number).unwrap();
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(joiner.join().unwrap() > 0);
    });
    queue.join().unwrap();
    queue.close();
    workers.iter().for_each(|worker| worker.join().unwrap());
}

#[test]
fn a_joiner_is_told_of_a_death_while_it_sleeps_not_of_others() {
    let queue = JoinableQueue::new().unwrap();
    let unconcerned = JoinableQueue::new().unwrap();
    queue.put(&1).unwrap();
    let holder = Consumer::of(&queue);
    holder.does(GET);
    let other = Consumer::of(&unconcerned);
    let (ready, is_ready) = std::sync::mpsc::channel();
    let joiner = std::thread::spawn({
        let queue = queue.clone();
        move || {
            ready.send(tid()).unwrap();
            join(&queue)
        }
    });
    let joiner_tid = is_ready.recv().unwrap();
    asleep(std::process::id(), joiner_tid);
    other.falls();
    asleep(std::process::id(), joiner_tid);
    holder.does(DONE);
    assert_eq!(joiner.join().unwrap(), Ok(true));
    holder.ends();
}
