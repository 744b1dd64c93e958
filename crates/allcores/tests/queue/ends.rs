//! Processes that end, well or badly, with something of theirs in a queue.

use allcores::multiprocessing::queue::GetError;
use allcores::multiprocessing::{Process, Queue, SimpleQueue};

use super::util::{Parcel, kill, process_asleep};

fn put_and_end((queue, count): (Queue<Parcel>, u32)) {
    for number in 0..count {
        let length = if number % 10 == 9 { 50_000 } else { 500 };
        queue.put(&Parcel::new(7, number, length)).unwrap();
    }
}

fn put_and_exit((queue, count): (Queue<Parcel>, u32)) {
    put_and_end((queue, count));
    // SAFETY: ends the process at once, without any cleaning up.
    unsafe { libc::_exit(0) };
}

fn put_and_be_killed((queue, count): (Queue<Parcel>, u32)) {
    put_and_end((queue, count));
    // SAFETY: a signal to this process.
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
}

/// More than any buffer of the kernel's would take: nobody has to read it for the process to end.
const COUNT: u32 = 1000;

#[track_caller]
fn all_are_there(queue: &Queue<Parcel>) {
    assert_eq!(queue.qsize(), COUNT as usize);
    all_come(queue);
}

#[track_caller]
fn all_come(queue: &Queue<Parcel>) {
    for number in 0..COUNT {
        let parcel = queue.get().unwrap();
        parcel.check();
        assert_eq!(parcel.number, number);
    }
    assert!(matches!(queue.get(), Err(GetError::Disconnected)));
}

#[test]
fn a_process_ends_with_items_that_nobody_has_read() {
    let queue = Queue::new().unwrap();
    let child = Process::new(put_and_end, (queue.clone(), COUNT))
        .start()
        .unwrap();
    child.join().unwrap();
    all_are_there(&queue);
}

#[test]
fn one_that_exits_without_cleaning_up() {
    let queue = Queue::new().unwrap();
    let child = Process::new(put_and_exit, (queue.clone(), COUNT))
        .start()
        .unwrap();
    let _ = child.join();
    all_are_there(&queue);
}

#[test]
fn one_that_is_killed_after_its_last_put() {
    let queue = Queue::new().unwrap();
    let child = Process::new(put_and_be_killed, (queue.clone(), COUNT))
        .start()
        .unwrap();
    let _ = child.join();
    all_are_there(&queue);
}

fn get_some_and_wait((queue, ready): (Queue<Parcel>, SimpleQueue<u32>)) {
    for number in 0..COUNT / 2 {
        assert_eq!(queue.get().unwrap().number, number);
    }
    ready.put(&0).unwrap();
    std::thread::park();
}

#[test]
fn a_consumer_killed_between_two_messages_takes_none_along() {
    let queue = Queue::new().unwrap();
    let ready = SimpleQueue::new().unwrap();
    put_and_end((queue.clone(), COUNT));
    let child = Process::new(get_some_and_wait, (queue.clone(), ready.clone()))
        .start()
        .unwrap();
    ready.get().unwrap();
    kill(child);
    for number in COUNT / 2..COUNT {
        let parcel = queue.get().unwrap();
        parcel.check();
        assert_eq!(parcel.number, number);
    }
}

fn get_one(queue: Queue<Parcel>) -> u32 {
    queue.get().unwrap().number
}

/// The one who would have been woken is killed asleep: another one is woken in its place.
#[test]
fn a_sleeper_that_is_killed_takes_no_wake_up_along() {
    let queue = Queue::new().unwrap();
    let first = Process::new(get_one, queue.clone()).start().unwrap();
    process_asleep(&first);
    let second = Process::new(get_one, queue.clone()).start().unwrap();
    process_asleep(&second);
    kill(first);
    queue.put(&Parcel::new(0, 3, 0)).unwrap();
    assert_eq!(second.result().unwrap(), 3);
}

/// Stopped where it would be woken: as long as it is, the message waits for it or for any other.
#[test]
fn a_sleeper_that_was_woken_and_killed_before_it_ran() {
    let queue = Queue::new().unwrap();
    let first = Process::new(get_one, queue.clone()).start().unwrap();
    process_asleep(&first);
    let second = Process::new(get_one, queue.clone()).start().unwrap();
    process_asleep(&second);
    // SAFETY: our own child, which has not been waited for.
    unsafe { libc::kill(first.pid() as i32, libc::SIGSTOP) };
    queue.put(&Parcel::new(0, 3, 0)).unwrap();
    kill(first);
    assert_eq!(second.result().unwrap(), 3);
}

fn make_and_return(count: u32) -> Queue<Parcel> {
    let queue = Queue::new().unwrap();
    put_and_end((queue.clone(), count));
    queue
}

#[test]
fn a_queue_outlives_its_maker() {
    let child = Process::new(make_and_return, COUNT).start().unwrap();
    all_are_there(&child.result().unwrap());
}

fn relay((from, to): (Queue<Parcel>, Queue<Parcel>)) {
    while let Ok(parcel) = from.get() {
        to.put(&parcel).unwrap();
    }
}

/// The end runs through a chain of processes, without anybody having been told to close anything.
#[test]
fn a_chain_ends_from_its_head() {
    let queues: Vec<_> = (0..4).map(|_| Queue::new().unwrap()).collect();
    let relays: Vec<_> = queues
        .windows(2)
        .map(|pair| {
            let ends = (pair[0].clone(), pair[1].clone());
            Process::new(relay, ends).start().unwrap()
        })
        .collect();
    let last = queues[3].clone();
    let head = Process::new(put_and_be_killed, (queues[0].clone(), COUNT))
        .start()
        .unwrap();
    drop(queues);
    all_come(&last);
    let _ = head.join();
    relays.iter().for_each(|relay| relay.join().unwrap());
}
