//! Waiting, not waiting, waiting for so long, and being told that there is nothing to wait for.

use std::os::unix::thread::JoinHandleExt;
use std::time::{Duration, Instant};

use allcores::multiprocessing::queue::door::Message;
use allcores::multiprocessing::queue::{GetError, PutError, Stopped};
use allcores::multiprocessing::{JoinableQueue, Process, Queue, SimpleQueue, wait};
use allcores::sync::Deadline;

use super::util::{asleep, kill, named_asleep, patience, process_asleep, sleeping_in, tid};

const SHORT: Duration = Duration::from_millis(30);

#[test]
fn an_empty_queue() {
    let queue = Queue::<u8>::new().unwrap();
    assert!(matches!(queue.try_get(), Err(GetError::Empty)));
    for timeout in [Duration::ZERO, SHORT] {
        let began = Instant::now();
        assert!(matches!(queue.get_timeout(timeout), Err(GetError::Empty)));
        assert!(began.elapsed() >= timeout);
    }
    assert_eq!(queue.get_many(0).unwrap().count(), 0, "asks for nothing");
    queue.put(&1).unwrap();
    assert_eq!(queue.get_timeout(Duration::ZERO).unwrap(), 1);
}

#[test]
fn a_full_queue() {
    let queue = Queue::<u8>::bounded(2).unwrap();
    assert_eq!(queue.maxsize(), Some(2));
    queue.put(&1).unwrap();
    assert!(!queue.is_full());
    queue.put_timeout(&2, Duration::ZERO).unwrap();
    assert!(queue.is_full());
    assert!(matches!(queue.try_put(&3), Err(PutError::Full)));
    assert!(matches!(
        queue.try_put_bytes(&[3; 70_000]),
        Err(PutError::Full)
    ));
    for timeout in [Duration::ZERO, SHORT] {
        let began = Instant::now();
        assert!(matches!(
            queue.put_timeout(&3, timeout),
            Err(PutError::Full)
        ));
        assert!(began.elapsed() >= timeout);
    }
    assert_eq!(queue.get().unwrap(), 1);
    queue.try_put(&3).unwrap();
    assert_eq!((queue.get().unwrap(), queue.get().unwrap()), (2, 3));
}

#[test]
#[should_panic(expected = "room for nothing")]
fn room_for_nothing() {
    let _ = Queue::<u8>::bounded(0);
}

#[test]
fn bytes_wait_and_do_not_wait_as_values_do() {
    let queue = Queue::<u8>::bounded(1).unwrap();
    assert!(matches!(queue.try_get_bytes(), Err(GetError::Empty)));
    assert!(matches!(
        queue.get_bytes_timeout(SHORT),
        Err(GetError::Empty)
    ));
    queue.put_bytes_timeout(b"tea", SHORT).unwrap();
    assert!(matches!(queue.try_put_bytes(b"!"), Err(PutError::Full)));
    assert!(matches!(
        queue.put_bytes_timeout(b"!", SHORT),
        Err(PutError::Full)
    ));
    assert_eq!(queue.try_get_bytes().unwrap(), b"tea");
    queue.try_put_bytes(b"milk").unwrap();
    assert_eq!(queue.get_bytes_timeout(SHORT).unwrap(), b"milk");
}

fn double((numbers, doubles): (Queue<u64>, Queue<u64>)) {
    while let Ok(number) = numbers.get() {
        doubles.put(&(2 * number)).unwrap();
    }
}

#[test]
fn sleepers_are_woken_by_what_they_wait_for() {
    let numbers = Queue::bounded(1).unwrap();
    let doubles = Queue::bounded(1).unwrap();
    let child = Process::new(double, (numbers.clone(), doubles.clone()))
        .start()
        .unwrap();
    for number in 0..20 {
        process_asleep(&child);
        numbers.put(&number).unwrap();
        assert_eq!(doubles.get().unwrap(), 2 * number);
    }
    // Now it sleeps because there is no room.
    numbers.put(&1).unwrap();
    numbers.put(&2).unwrap();
    process_asleep(&child);
    assert_eq!(doubles.get().unwrap(), 2);
    assert_eq!(doubles.get().unwrap(), 4);
    numbers.close();
    child.join().unwrap();
}

/// One wake-up for all of them.
#[test]
fn a_batch_wakes_as_many_as_it_has_messages() {
    let queue = Queue::<u32>::new().unwrap();
    let sleepers: Vec<_> = (0..4)
        .map(|_| {
            let queue = queue.clone();
            sleeping_in(move || queue.get_timeout(patience()).unwrap())
        })
        .collect();
    assert_eq!(queue.put_many(&[1, 2, 3, 4]).unwrap(), 4);
    let sum: u32 = sleepers.into_iter().map(|it| it.join().unwrap()).sum();
    assert_eq!(sum, 10);
}

#[test]
fn getting_a_batch_wakes_as_many_as_there_is_room_for() {
    let queue = Queue::<u32>::bounded(3).unwrap();
    queue.put_many(&[0, 0, 0]).unwrap();
    let sleepers: Vec<_> = (0..3)
        .map(|_| {
            let queue = queue.clone();
            sleeping_in(move || queue.put_timeout(&1, patience()).unwrap())
        })
        .collect();
    assert_eq!(queue.get_many(5).unwrap().count(), 3);
    sleepers.into_iter().for_each(|it| it.join().unwrap());
    assert_eq!(queue.qsize(), 3);
}

fn get_error(queue: Queue<u64>) -> String {
    queue.get().unwrap_err().to_string()
}
fn put_error(queue: Queue<u64>) -> String {
    queue.put(&9).unwrap_err().to_string()
}

#[test]
fn closing_wakes_those_who_get() {
    let queue = Queue::<u64>::new().unwrap();
    let child = Process::new(get_error, queue.clone()).start().unwrap();
    process_asleep(&child);
    let thread = sleeping_in({
        let queue = queue.clone();
        move || matches!(queue.get_timeout(patience()), Err(GetError::Closed))
    });
    let batch = sleeping_in({
        let queue = queue.clone();
        move || matches!(queue.get_many(3), Err(GetError::Closed))
    });
    queue.close();
    assert!(thread.join().unwrap() && batch.join().unwrap());
    assert!(child.result().unwrap().contains("closed"));
    assert!(queue.is_closed());
    queue.close();
    assert!(matches!(queue.try_get(), Err(GetError::Closed)));
    assert!(matches!(queue.put(&1), Err(PutError::Closed)));
    assert!(matches!(
        queue.put_bytes(&[1; 50_000]),
        Err(PutError::Closed)
    ));
    let error = queue.put_many(&[1, 2]).unwrap_err();
    assert!(error.put == 0 && matches!(error.reason, PutError::Closed));
}

#[test]
fn closing_wakes_those_who_put() {
    let queue = Queue::<u64>::bounded(1).unwrap();
    queue.put(&1).unwrap();
    let child = Process::new(put_error, queue.clone()).start().unwrap();
    process_asleep(&child);
    let thread = sleeping_in({
        let queue = queue.clone();
        move || matches!(queue.put_timeout(&2, patience()), Err(PutError::Closed))
    });
    let many = sleeping_in({
        let queue = queue.clone();
        move || queue.put_many(&[3, 4]).unwrap_err().put
    });
    queue.close();
    assert!(thread.join().unwrap());
    assert_eq!(many.join().unwrap(), 0);
    assert!(child.result().unwrap().contains("closed"));
    assert_eq!(queue.get().unwrap(), 1, "what was put before is got");
    assert!(matches!(queue.get(), Err(GetError::Closed)));
}

#[test]
fn what_was_put_before_closing_is_got() {
    let queue = Queue::<u64>::new().unwrap();
    queue.put_many(&(0..5000).collect::<Vec<_>>()).unwrap();
    queue.put_bytes(&[0; 30_000]).unwrap();
    queue.close();
    for number in 0..5000 {
        assert_eq!(queue.get().unwrap(), number);
    }
    assert_eq!(queue.get_bytes().unwrap().len(), 30_000);
    assert!(matches!(queue.get(), Err(GetError::Closed)));
    assert!(matches!(queue.get_many(1), Err(GetError::Closed)));
}

fn close_and_stay((queue, ready): (Queue<u64>, SimpleQueue<()>)) {
    queue.close();
    ready.put(&()).unwrap();
    std::thread::park();
}

#[test]
fn closed_by_another_process_and_for_ever() {
    let queue = Queue::<u64>::new().unwrap();
    let ready = SimpleQueue::new().unwrap();
    queue.put(&1).unwrap();
    let closer = Process::new(close_and_stay, (queue.clone(), ready.clone()))
        .start()
        .unwrap();
    ready.get().unwrap();
    assert!(queue.is_closed());
    kill(closer);
    assert_eq!(queue.get().unwrap(), 1);
    assert!(
        matches!(queue.get(), Err(GetError::Closed)),
        "not Disconnected"
    );
}

extern "C" fn ignore(_: i32) {}

#[allow(
    clippy::disallowed_methods,
    reason = "libc has no tgkill for a thread that is known by number"
)]
#[test]
fn signals_do_not_end_a_wait() {
    // SAFETY: an empty handler, without SA_RESTART: system calls are interrupted by it.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = ignore as extern "C" fn(i32) as libc::sighandler_t;
        libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut());
    }
    let queue = Queue::<u64>::new().unwrap();
    let (ready, is_ready) = std::sync::mpsc::channel();
    let getter = std::thread::spawn({
        let queue = queue.clone();
        move || {
            ready.send(tid()).unwrap();
            queue.get().unwrap()
        }
    });
    let getter_tid = is_ready.recv().unwrap();
    for _ in 0..20 {
        asleep(std::process::id(), getter_tid);
        // SAFETY: a thread of ours that has not been joined.
        unsafe {
            libc::syscall(
                libc::SYS_tgkill,
                std::process::id(),
                getter_tid,
                libc::SIGUSR1,
            )
        };
    }
    queue.put(&5).unwrap();
    assert_eq!(getter.join().unwrap(), 5);
}

/// The thread behind a descriptor takes nothing, so it must not keep a wake-up either that was meant for one who does.
#[test]
fn a_descriptor_does_not_swallow_what_wakes_a_consumer() {
    let queue = Queue::<u64>::new().unwrap();
    let pollable = queue.pollable().unwrap();
    named_asleep("allcores-pollab");
    let getter = sleeping_in({
        let queue = queue.clone();
        move || queue.get_timeout(patience()).unwrap()
    });
    queue.put(&5).unwrap();
    assert_eq!(getter.join().unwrap(), 5);
    drop(pollable);
}

/// The thread behind a descriptor may not have seen yet what is there already.
#[test]
fn a_descriptor_shows_what_is_there_when_it_is_asked_for() {
    let queue = Queue::<u64>::new().unwrap();
    let pollable = queue.pollable().unwrap();
    for number in 0..1000 {
        queue.put(&number).unwrap();
        assert_eq!(wait(&[&pollable], Duration::ZERO).unwrap(), [0]);
        assert_eq!(queue.get().unwrap(), number);
        assert!(wait(&[&pollable], Duration::ZERO).unwrap().is_empty());
    }
    queue.close();
    assert_eq!(wait(&[&pollable], Duration::ZERO).unwrap(), [0]);
}

fn put_one(queue: Queue<u64>) {
    queue.put(&7).unwrap();
}

/// Who sees the end of a process sees what it has put before that.
#[test]
fn wait_does_not_miss_what_a_process_put_before_its_end() {
    let queue = Queue::<u64>::new().unwrap();
    let pollable = queue.pollable().unwrap();
    for _ in 0..50 {
        let child = Process::new(put_one, queue.clone()).start().unwrap();
        let ready = wait(&[&child, &pollable], patience()).unwrap();
        if ready.contains(&0) {
            assert_eq!(wait(&[&pollable], Duration::ZERO).unwrap(), [0]);
        }
        child.join().unwrap();
        assert_eq!(wait(&[&pollable], Duration::ZERO).unwrap(), [0]);
        assert_eq!(queue.get().unwrap(), 7);
    }
}

/// Signals until the thread, which sleeps in a wait that a signal ends, has come back.
fn stopped<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    extern "C" fn nothing(_: libc::c_int) {}
    let handler: extern "C" fn(libc::c_int) = nothing;
    // SAFETY: a handler that does nothing, and without SA_RESTART.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as libc::sighandler_t;
        libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut());
    }
    let (ready, is_ready) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        ready.send(tid()).unwrap();
        work()
    });
    let tid = is_ready.recv().unwrap();
    asleep(std::process::id(), tid);
    while !thread.is_finished() {
        // SAFETY: a thread of ours that has not been joined.
        unsafe { libc::pthread_kill(thread.as_pthread_t(), libc::SIGUSR1) };
        std::thread::yield_now();
    }
    thread.join().unwrap()
}

/// The doors for faces: a signal ends each of their waits, and it has moved nothing.
#[test]
fn a_signal_ends_the_waits_of_faces() {
    let queue = Queue::<u64>::bounded(1).unwrap();
    let other = queue.clone();
    assert!(stopped(move || matches!(
        other.take_or_stop(Deadline::NEVER, false, <[u8]>::len),
        Err(Stopped::Interrupted)
    )));
    let other = queue.clone();
    assert!(stopped(move || matches!(
        other.wait_or_stop(Deadline::NEVER, false),
        Err(Stopped::Interrupted)
    )));
    assert!(queue.put_at_once(&[b"te", b"a"]).unwrap());
    assert!(!queue.put_at_once(&[b"milk"]).unwrap(), "full");
    let other = queue.clone();
    assert!(stopped(move || matches!(
        other.put_parts_or_stop(&[b"milk"], Deadline::NEVER),
        Err(Stopped::Interrupted)
    )));
    assert!(queue.wait_or_stop(Deadline::NOW, false).unwrap());
    assert!(matches!(
        queue.take_at_once(<[u8]>::to_vec).unwrap(),
        Some(Message::Short(bytes)) if bytes == b"tea"
    ));
    assert!(queue.take_at_once(<[u8]>::to_vec).unwrap().is_none());

    let queue = JoinableQueue::<u64>::new().unwrap();
    queue.put(&1).unwrap();
    let other = queue.clone();
    assert!(stopped(move || matches!(
        other.join_or_stop(Deadline::NEVER),
        Err(Stopped::Interrupted)
    )));
    assert!(!queue.join_or_stop(Deadline::NOW).unwrap());
    queue.get().unwrap();
    queue.task_done().unwrap();
    assert!(queue.join_or_stop(Deadline::NEVER).unwrap());
}
