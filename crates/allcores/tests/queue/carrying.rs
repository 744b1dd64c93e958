//! Handles inside messages.

use allcores::multiprocessing::queue::{GetError, PutError};
use allcores::multiprocessing::transfer::TransferError;
use allcores::multiprocessing::{
    Connection, Event, JoinableQueue, Lock, Pipe, Process, Queue, Semaphore,
};
use allcores::shm::Arena;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Order {
    total: Lock<u64>,
    done: Event,
    answers: Queue<String>,
    filling: Vec<u8>,
}

fn fill_orders(orders: Queue<Order>) {
    while let Ok(order) = orders.get() {
        *order.total.acquire().unwrap() += order.filling.len() as u64;
        order.answers.put(&"done".to_string()).unwrap();
        order.done.set();
    }
}

#[test]
fn locks_events_and_queues_to_a_process() {
    let orders = Queue::new().unwrap();
    let child = Process::new(fill_orders, orders.clone()).start().unwrap();
    let (total, answers) = (Lock::new(0).unwrap(), Queue::new().unwrap());
    let mut sum = 0;
    for length in [0, 100, 16_300, 16_384, 100_000] {
        let done = Event::new().unwrap();
        let order = Order {
            total: total.clone(),
            done: done.clone(),
            answers: answers.clone(),
            filling: vec![1; length],
        };
        orders.put(&order).unwrap();
        drop(order);
        done.wait();
        assert_eq!(answers.get().unwrap(), "done");
        sum += length as u64;
        assert_eq!(*total.acquire().unwrap(), sum);
    }
    orders.close();
    child.join().unwrap();
}

#[test]
fn a_queue_that_is_kept_by_its_message_alone() {
    let carrier = Queue::new().unwrap();
    let inner = Queue::<u32>::new().unwrap();
    inner.put(&1).unwrap();
    carrier.put(&vec![inner.clone(), inner.clone()]).unwrap();
    drop(inner);
    let arrived = carrier.get().unwrap();
    assert!(arrived[0].same(&arrived[1]));
    assert_eq!(arrived[1].get().unwrap(), 1);
}

#[test]
fn queues_in_queues_in_queues() {
    let outer = Queue::<Queue<Queue<u32>>>::new().unwrap();
    let middle = Queue::new().unwrap();
    let inner = Queue::new().unwrap();
    inner.put(&5).unwrap();
    middle.put(&inner).unwrap();
    outer.put(&middle).unwrap();
    drop((inner, middle));
    assert_eq!(outer.get().unwrap().get().unwrap().get().unwrap(), 5);
}

#[test]
fn a_queue_through_itself() {
    #[derive(Serialize, Deserialize)]
    struct Mirror(Option<Queue<Mirror>>);
    let queue = Queue::new().unwrap();
    queue.put(&Mirror(Some(queue.clone()))).unwrap();
    let itself = queue.get().unwrap().0.unwrap();
    assert!(itself.same(&queue));
    itself.put(&Mirror(None)).unwrap();
    assert!(queue.get().unwrap().0.is_none());
}

#[test]
fn a_descriptor_does_not_travel_and_the_remedy_is_named() {
    let queue = Queue::<Vec<Connection<u8, u8>>>::new().unwrap();
    let (one, _other) = Pipe().unwrap();
    let error = queue.put(&vec![one]).unwrap_err();
    assert!(
        matches!(error, PutError::Transfer(TransferError::InQueue)),
        "{error:?}"
    );
    assert!(error.to_string().contains("Connection"), "{error}");
    assert!(queue.is_empty());
    let (one, _other) = Pipe().unwrap();
    let values = [vec![], vec![one], vec![]];
    let error = queue.put_many(&values).unwrap_err();
    assert!(error.put == 1 && matches!(error.reason, PutError::Transfer(_)));
    assert_eq!(queue.get().unwrap().len(), 0);
    queue.put(&vec![]).unwrap();
    assert_eq!(queue.get().unwrap().len(), 0);
}

#[test]
fn a_handle_into_another_arena_does_not_travel() {
    let arena = Arena::new().unwrap();
    let (here, there) = (Queue::new().unwrap(), Queue::new_in(&arena).unwrap());
    let lock = Lock::new(1u64).unwrap();
    let far = Lock::new_in(&arena, 2u64).unwrap();
    let error = there.put(&lock).unwrap_err();
    assert!(
        matches!(error, PutError::Transfer(TransferError::InQueue)),
        "{error:?}"
    );
    let error = here.put(&far).unwrap_err();
    assert!(
        matches!(error, PutError::Transfer(TransferError::InQueue)),
        "{error:?}"
    );
    there.put(&far).unwrap();
    here.put(&lock).unwrap();
    assert_eq!(*there.get().unwrap().acquire().unwrap(), 2);
    assert_eq!(*here.get().unwrap().acquire().unwrap(), 1);
}

#[test]
fn another_kind_of_thing_than_is_wanted() {
    let carrier = Queue::<Semaphore>::new().unwrap();
    carrier.put(&Semaphore::new(3).unwrap()).unwrap();
    let misled = sent_as::<_, Queue<u8>>(&carrier);
    assert!(matches!(misled.get(), Err(GetError::Transfer(_))));
    assert!(misled.is_empty(), "it was taken, and its handle given up");

    let queue = Queue::<u8>::new().unwrap();
    let carrier = Queue::new().unwrap();
    carrier.put(&queue).unwrap();
    let error = sent_as::<_, JoinableQueue<u8>>(&carrier).get().unwrap_err();
    assert!(error.to_string().contains("JoinableQueue"), "{error:?}");
    let joinable = JoinableQueue::<u8>::new().unwrap();
    let carrier = Queue::new().unwrap();
    carrier.put(&joinable).unwrap();
    let plain = sent_as::<_, Queue<u8>>(&carrier).get().unwrap();
    plain.put(&1).unwrap();
    assert_eq!(joinable.unfinished_tasks(), 1, "it is the same queue");
    assert_eq!(joinable.get().unwrap(), 1);
}

/// The same queue, as one of something else.
fn sent_as<T, U>(queue: &Queue<T>) -> Queue<U> {
    let (a, b) = Pipe::<Queue<T>, ()>().unwrap();
    a.send(queue).unwrap();
    let b = Connection::<(), Queue<U>>::from_fd(std::os::fd::OwnedFd::from(b)).unwrap();
    b.recv().unwrap()
}

#[test]
fn bytes_of_a_message_with_handles() {
    let queue = Queue::<(u8, Lock<u64>)>::new().unwrap();
    let lock = Lock::new(0u64).unwrap();
    queue.put(&(7, lock.clone())).unwrap();
    let bytes = queue.get_bytes().unwrap();
    assert_eq!(bytes[0], 7);
    // The handle was given up: the same bytes name nothing any more.
    queue.put_bytes(&bytes).unwrap();
    assert!(matches!(queue.get(), Err(GetError::Transfer(_))));
    assert!(queue.is_empty());
}

#[test]
fn a_handle_is_not_left_pinned_by_a_put_that_fails() {
    let queue = Queue::bounded(1).unwrap();
    let lock = Lock::new(0u64).unwrap();
    queue.put(&lock).unwrap();
    assert!(matches!(queue.try_put(&lock), Err(PutError::Full)));
    queue.close();
    assert!(matches!(queue.put(&lock), Err(PutError::Closed)));
    assert!(queue.get().unwrap().same(&lock));
}
