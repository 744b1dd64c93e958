//! `Disconnected`: when nobody is left who could end a wait, and not before.

use std::time::Duration;

use allcores::multiprocessing::queue::{GetError, PutError, Stopped};
use allcores::multiprocessing::{Connection, Pipe, Process, Queue};
use allcores::sync::Deadline;

use super::util::{asleep, kill, patience, process_asleep, sleeping_in, tid, until};

const SHORT: Duration = Duration::from_millis(60);

fn hold(queue: Queue<u64>) {
    // Until it is killed; the queue is held all the time.
    let _queue = queue;
    std::thread::park();
}

fn hold_until_told((queue, end): (Queue<u64>, Connection<u8, u8>)) {
    end.send(&0).unwrap();
    let _ = end.recv();
    drop(queue);
    end.send(&0).unwrap();
    let _ = end.recv();
}

fn holding(queue: &Queue<u64>) -> (Process<()>, Connection<u8, u8>) {
    let (there, here) = Pipe().unwrap();
    let arguments = (queue.clone(), there);
    let process = Process::new(hold_until_told, arguments).start().unwrap();
    here.recv().unwrap();
    (process, here)
}

fn nothing(_: Queue<u64>) {}

/// The only handle of this process goes into the thread, which sleeps.
fn getter(queue: Queue<u64>) -> std::thread::JoinHandle<Result<u64, GetError>> {
    sleeping_in(move || queue.get_timeout(patience()))
}

fn is_disconnected(getter: std::thread::JoinHandle<Result<u64, GetError>>) {
    let got = getter.join().unwrap();
    assert!(matches!(got, Err(GetError::Disconnected)), "{got:?}");
}

#[test]
fn the_last_other_process_is_killed() {
    let queue = Queue::new().unwrap();
    let child = Process::new(hold, queue.clone()).start().unwrap();
    let getter = getter(queue);
    kill(child);
    is_disconnected(getter);
}

#[test]
fn the_last_other_process_comes_to_its_end() {
    let queue = Queue::new().unwrap();
    let (there, here) = Pipe::<u8, u8>().unwrap();
    let child = Process::new(end_holding, (queue.clone(), there))
        .start()
        .unwrap();
    here.recv().unwrap();
    let getter = getter(queue);
    here.send(&0).unwrap();
    is_disconnected(getter);
    let _ = child.join();
    assert_eq!(child.exitcode(), Some(0));
}

fn end_holding((_queue, end): (Queue<u64>, Connection<u8, u8>)) {
    end.send(&0).unwrap();
    end.recv().unwrap();
    std::process::exit(0)
}

/// And lives on.
#[test]
fn the_last_other_process_drops_its_handle() {
    let queue = Queue::new().unwrap();
    let (child, end) = holding(&queue);
    let getter = getter(queue);
    end.send(&0).unwrap();
    is_disconnected(getter);
    assert!(child.is_alive());
    end.recv().unwrap();
    end.send(&0).unwrap();
    child.join().unwrap();
}

#[test]
fn all_others_were_gone_before() {
    let queue = Queue::<u64>::bounded(1).unwrap();
    let children: Vec<_> = (0..3)
        .map(|_| Process::new(nothing, queue.clone()).start().unwrap())
        .collect();
    children.iter().for_each(|child| child.join().unwrap());
    assert!(matches!(
        queue.get_timeout(patience()),
        Err(GetError::Disconnected)
    ));
    assert!(matches!(queue.get(), Err(GetError::Disconnected)));
    assert!(matches!(queue.get_many(3), Err(GetError::Disconnected)));
    assert!(
        matches!(queue.try_get(), Err(GetError::Empty)),
        "it does not wait"
    );
    queue.put(&1).unwrap();
    assert!(matches!(queue.put(&2), Err(PutError::Disconnected)));
    let error = queue.put_many(&[2, 3]).unwrap_err();
    assert!(error.put == 0 && matches!(error.reason, PutError::Disconnected));
    assert!(matches!(queue.try_put(&2), Err(PutError::Full)));
    assert_eq!(queue.get().unwrap(), 1, "what is there is got");
}

#[test]
fn somebody_new_makes_it_whole_again() {
    let queue = Queue::<u64>::new().unwrap();
    let child = Process::new(nothing, queue.clone()).start().unwrap();
    child.join().unwrap();
    assert!(matches!(queue.get(), Err(GetError::Disconnected)));
    let child = Process::new(put_after_a_while, queue.clone())
        .start()
        .unwrap();
    assert_eq!(queue.get().unwrap(), 4);
    child.join().unwrap();
}

fn put_after_a_while(queue: Queue<u64>) {
    std::thread::sleep(Duration::from_millis(40));
    queue.put(&4).unwrap();
}

#[test]
fn one_who_waits_for_room_is_told_as_well() {
    let queue = Queue::bounded(1).unwrap();
    queue.put(&1).unwrap();
    let child = Process::new(hold, queue.clone()).start().unwrap();
    let putter = sleeping_in(move || queue.put_timeout(&2, patience()));
    kill(child);
    assert!(matches!(
        putter.join().unwrap(),
        Err(PutError::Disconnected)
    ));
}

/// Each of them waits for the other, so neither is alone; when one goes, the other one is.
#[test]
fn processes_that_only_get_are_told_once_one_is_left() {
    let queue = Queue::new().unwrap();
    let one = Process::new(get, queue.clone()).start().unwrap();
    let other = Process::new(get, queue.clone()).start().unwrap();
    drop(queue);
    process_asleep(&one);
    process_asleep(&other);
    assert!(one.is_alive() && other.is_alive());
    kill(one);
    assert!(other.result().unwrap().contains("gone"));
}

fn get(queue: Queue<u64>) -> String {
    queue.get().unwrap_err().to_string()
}

#[test]
fn never_where_it_was_never_shared() {
    let queue = Queue::<u64>::bounded(1).unwrap();
    assert!(matches!(queue.get_timeout(SHORT), Err(GetError::Empty)));
    queue.put(&1).unwrap();
    assert!(matches!(queue.put_timeout(&1, SHORT), Err(PutError::Full)));
}

#[test]
fn not_while_another_handle_is_here() {
    let queue = Queue::<u64>::new().unwrap();
    let child = Process::new(nothing, queue.clone()).start().unwrap();
    child.join().unwrap();
    let other = queue.clone();
    assert!(matches!(queue.get_timeout(SHORT), Err(GetError::Empty)));
    let getter = getter(queue);
    other.put(&3).unwrap();
    assert_eq!(getter.join().unwrap().unwrap(), 3);
}

/// The other handle goes away while one sleeps.
#[test]
fn the_last_other_handle_here_is_dropped() {
    let queue = Queue::<u64>::new().unwrap();
    let child = Process::new(nothing, queue.clone()).start().unwrap();
    child.join().unwrap();
    let other = queue.clone();
    let getter = getter(queue);
    drop(other);
    is_disconnected(getter);
}

#[test]
fn not_while_another_process_lives() {
    let queue = Queue::<u64>::new().unwrap();
    let (child, end) = holding(&queue);
    let short_lived = Process::new(hold, queue.clone()).start().unwrap();
    kill(short_lived);
    assert!(matches!(queue.get_timeout(SHORT), Err(GetError::Empty)));
    end.send(&0).unwrap();
    end.recv().unwrap();
    assert!(matches!(queue.get(), Err(GetError::Disconnected)));
    end.send(&0).unwrap();
    child.join().unwrap();
}

#[test]
fn not_while_a_message_carries_it_nor_once_that_is_lost() {
    let queue = Queue::<u64>::new().unwrap();
    let child = Process::new(nothing, queue.clone()).start().unwrap();
    child.join().unwrap();
    let carrier = Queue::<Queue<u64>>::new().unwrap();
    carrier.put(&queue).unwrap();
    assert!(matches!(queue.get_timeout(SHORT), Err(GetError::Empty)));
    let getter = getter(queue);
    // The message is in a queue that nobody holds any more: it will never be received.
    drop(carrier);
    is_disconnected(getter);
}

#[test]
fn a_message_that_is_received_makes_a_holder() {
    let queue = Queue::<u64>::new().unwrap();
    let child = Process::new(nothing, queue.clone()).start().unwrap();
    child.join().unwrap();
    let carrier = Queue::<Queue<u64>>::new().unwrap();
    carrier.put(&queue).unwrap();
    let getter = getter(queue);
    let arrived = carrier.get().unwrap();
    arrived.put(&8).unwrap();
    assert_eq!(getter.join().unwrap().unwrap(), 8);
}

/// A process that died before it read its arguments holds nothing.
#[test]
fn arguments_that_nobody_read() {
    let queue = Queue::<u64>::new().unwrap();
    for _ in 0..5 {
        let child = Process::new(hold, queue.clone()).start().unwrap();
        kill(child);
    }
    // Whether any of them had come to open it is chance.
    let got = queue.get_timeout(patience());
    assert!(matches!(got, Err(GetError::Disconnected)), "{got:?}");
}

/// One of several sleepers in this process is told as the others are.
#[test]
fn threads_with_handles_of_their_own_hold_each_other() {
    let queue = Queue::<u64>::new().unwrap();
    let child = Process::new(nothing, queue.clone()).start().unwrap();
    child.join().unwrap();
    let one = getter(queue.clone());
    let other = getter(queue.clone());
    queue.put(&1).unwrap();
    until("one of them has it", || {
        one.is_finished() || other.is_finished()
    });
    let (gone, left) = if one.is_finished() {
        (one, other)
    } else {
        (other, one)
    };
    assert_eq!(gone.join().unwrap().unwrap(), 1);
    drop(queue);
    is_disconnected(left);
}

/// A thread that has never touched shared memory drops the last other handle of its process.
#[test]
fn dropped_by_a_thread_that_is_new_to_it() {
    fn drop_elsewhere((queue, end): (Queue<u64>, Connection<u8, u8>)) {
        end.send(&0).unwrap();
        let _ = end.recv();
        std::thread::spawn(move || drop(queue)).join().unwrap();
        let _ = end.recv();
    }
    let queue = Queue::new().unwrap();
    let (there, here) = Pipe::<u8, u8>().unwrap();
    let child = Process::new(drop_elsewhere, (queue.clone(), there))
        .start()
        .unwrap();
    here.recv().unwrap();
    let getter = getter(queue);
    here.send(&0).unwrap();
    is_disconnected(getter);
    drop(here);
    child.join().unwrap();
}

#[test]
fn one_who_waits_in_vain_is_not_told_of_others_queues() {
    let (queue, unconcerned) = (Queue::<u64>::new().unwrap(), Queue::<u64>::new().unwrap());
    let child = Process::new(hold, queue.clone()).start().unwrap();
    let (holder, end) = holding(&unconcerned);
    let (ready, is_ready) = std::sync::mpsc::channel();
    let sleeper = std::thread::spawn({
        let unconcerned = unconcerned.clone();
        move || {
            ready.send(tid()).unwrap();
            unconcerned.get_timeout(patience())
        }
    });
    let sleeper_tid = is_ready.recv().unwrap();
    drop(unconcerned);
    asleep(std::process::id(), sleeper_tid);
    kill(child);
    asleep(std::process::id(), sleeper_tid);
    end.send(&0).unwrap();
    is_disconnected(sleeper);
    end.recv().unwrap();
    drop(end);
    holder.join().unwrap();
}

/// A door that a signal ends is gone through again, with the same deadline, as Python's queues do. No handler need have run:
/// beside other tests, whose children come to their ends, that happens here all the time.
fn through<R, E>(
    deadline: Deadline,
    mut door: impl FnMut(Deadline) -> Result<R, Stopped<E>>,
) -> Result<R, E> {
    loop {
        match door(deadline) {
            Ok(passed) => return Ok(passed),
            Err(Stopped::Failed(error)) => return Err(error),
            Err(Stopped::Interrupted) => {}
        }
    }
}

fn taken(queue: &Queue<u64>, wait: Duration, heeds_holders: bool) -> Result<(), GetError> {
    through(Deadline::after(wait), |deadline| {
        let taken = queue.take_or_stop(deadline, heeds_holders, |_| ());
        taken.map(|_| ())
    })
}

fn found(queue: &Queue<u64>, deadline: Deadline, heeds_holders: bool) -> Result<bool, GetError> {
    through(deadline, |deadline| {
        queue.wait_or_stop(deadline, heeds_holders)
    })
}

/// What Python's queues ask with: only who puts nothing itself is told that nobody will.
#[test]
fn only_who_heeds_holders_is_told_by_the_doors() {
    let queue = Queue::<u64>::new().unwrap();
    let child = Process::new(nothing, queue.clone()).start().unwrap();
    child.join().unwrap();
    let heeding = taken(&queue, patience(), true);
    assert!(
        matches!(heeding, Err(GetError::Disconnected)),
        "{heeding:?}"
    );
    let soon = || Deadline::after(patience());
    assert!(found(&queue, soon(), true).unwrap(), "the end");
    let unheeding = taken(&queue, SHORT, false);
    assert!(matches!(unheeding, Err(GetError::Empty)), "{unheeding:?}");
    assert!(!found(&queue, Deadline::after(SHORT), false).unwrap());
    assert!(!found(&queue, Deadline::NOW, false).unwrap());
}

/// The last other one goes while somebody waits there.
#[test]
fn who_heeds_holders_is_told_while_it_waits_at_the_door() {
    let queue = Queue::<u64>::new().unwrap();
    let child = Process::new(hold, queue.clone()).start().unwrap();
    let waiter = sleeping_in(move || found(&queue, Deadline::after(patience()), true));
    kill(child);
    assert!(waiter.join().unwrap().unwrap());
    let queue = Queue::<u64>::new().unwrap();
    let child = Process::new(hold, queue.clone()).start().unwrap();
    let taker = sleeping_in(move || taken(&queue, patience(), true));
    kill(child);
    let taken = taker.join().unwrap();
    assert!(matches!(taken, Err(GetError::Disconnected)), "{taken:?}");
}
