//! The Rust half of `python/tests/test_ticket.py`: started by Python, or starting it, with one of each kind in a ticket.

use std::error::Error;
use std::process::{Command, ExitCode};

use allcores::multiprocessing::{
    Array, Barrier, BoundedSemaphore, Condition, Event, JoinableQueue, Lock, OwnedSemaphore, Queue,
    RLock, RawArray, RawValue, Semaphore, SharedMemory, Ticket, Value,
};

type Done = Result<(), Box<dyn Error>>;

/// Python has made all of it.
fn open() -> Done {
    let mut ticket = Ticket::received()?;
    refused(&mut ticket);
    let lock: Lock<()> = ticket.open("lock")?;
    assert!(!lock.try_hold()?, "Python holds it");
    let rlock: RLock<()> = ticket.open("rlock")?;
    let semaphore: Semaphore = ticket.open("semaphore")?;
    assert!(semaphore.try_acquire() && !semaphore.try_acquire());
    let bounded: BoundedSemaphore = ticket.open("bounded")?;
    assert!(bounded.release().is_err());
    let owned: OwnedSemaphore = ticket.open("owned")?;
    assert!(owned.try_acquire());
    owned.release()?;
    let event: Event = ticket.open("event")?;
    let barrier: Barrier = ticket.open("barrier")?;
    let array: Array<f64> = ticket.open("array")?;
    array.update(|elements| elements[1] += elements[0])?;
    let value: Value<i32> = ticket.open("value")?;
    value.update(|number| *number *= 2)?;
    let raw: RawArray<u16> = ticket.open("raw_array")?;
    raw.set(0, raw.get(1)?)?;
    let one: RawArray<i8> = ticket.open("raw_value")?;
    one.set(0, -1)?;
    let memory: RawArray<u8> = ticket.open("memory")?;
    assert_eq!(memory.len(), 2 << 20);
    memory.set(memory.len() - 1, 7)?;
    let segment: SharedMemory = ticket.open("segment")?;
    segment.write_at(1, &[5])?;
    let jobs: JoinableQueue<()> = ticket.open("jobs")?;
    assert_eq!(jobs.get_bytes()?, b"job");
    jobs.task_done()?;
    let words: Queue<()> = ticket.open("words")?;
    let condition: Condition = ticket.open("condition")?;
    let guard = rlock.acquire().map_err(|_| "the owner died")?;
    condition.notify_one(&guard)?;
    drop(guard);
    event.set();
    words.put_bytes(b"done")?;
    barrier.wait()?;
    Ok(())
}

/// What is said of other types than those that were put in.
fn refused(ticket: &mut Ticket) {
    let said = [
        ticket.open::<Event>("lock").err(),
        ticket.open::<Array<u64>>("array").err(),
        ticket.open::<Array<f32>>("array").err(),
        ticket.open::<Value<i64>>("value").err(),
        ticket.open::<[u16; 2]>("raw_array").err(),
        ticket.open::<RawArray<[u8; 4]>>("raw_array").err(),
        ticket.open::<Queue<()>>("segment").err(),
        ticket.open::<JoinableQueue<()>>("words").err(),
        ticket.open::<Lock<()>>("nothing").err(),
    ];
    for error in said {
        println!(
            "{}",
            error.map_or("no error".into(), |error| error.to_string())
        );
    }
}

/// All of it is made here, and `python -c program` opens it.
fn start(python: &str, program: &str) -> Done {
    let (lock, rlock) = (Lock::new(())?, RLock::new(())?);
    let (semaphore, bounded, owned) = (
        Semaphore::new(1)?,
        BoundedSemaphore::new(2)?,
        OwnedSemaphore::new(1)?,
    );
    let (event, barrier, condition) = (Event::new()?, Barrier::new(2)?, Condition::new()?);
    let array = Array::from_slice(&[1.5, 2.5])?;
    let points = Array::from_slice(&[[1i32, 2], [3, 4]])?;
    let value = Value::new(-3i64)?;
    let flag = Value::new(1u8)?;
    let raw = RawArray::from_slice(&[1u16, 2, 3])?;
    let number = RawValue::new(0.5f32)?;
    let memory = RawArray::<u8>::new(2 << 20)?;
    let segment = SharedMemory::new(3 << 20)?;
    let (words, jobs) = (Queue::<()>::new()?, JoinableQueue::<()>::new()?);
    let mut ticket = Ticket::new();
    ticket.add("lock", &lock)?;
    ticket.add("rlock", &rlock)?;
    ticket.add("semaphore", &semaphore)?;
    ticket.add("bounded", &bounded)?;
    ticket.add("owned", &owned)?;
    ticket.add("event", &event)?;
    ticket.add("barrier", &barrier)?;
    ticket.add("condition", &condition)?;
    ticket.add("array", &array)?;
    ticket.add("points", &points)?;
    ticket.add("value", &value)?;
    ticket.add("flag", &flag)?;
    ticket.add("raw", &raw)?;
    ticket.add("number", &number)?;
    ticket.add("memory", &memory)?;
    ticket.add("segment", &segment)?;
    ticket.add("words", &words)?;
    ticket.add("jobs", &jobs)?;
    lock.hold()?;
    jobs.put_bytes(b"job")?;
    let mut command = Command::new(python);
    command.args(["-c", program]);
    let inherited = ticket.attach(&mut command)?;
    let guard = rlock.acquire().map_err(|_| "the owner died")?;
    let mut child = command.spawn()?;
    drop(inherited);
    let mut guard = guard;
    assert!(condition.wait(&mut guard).is_ok());
    drop(guard);
    event.wait();
    assert_eq!(words.get_bytes()?, b"done");
    barrier.wait()?;
    if !child.wait()?.success() {
        return Err("Python failed".into());
    }
    assert!(lock.locked() && !semaphore.try_acquire());
    assert_eq!((owned.value(), jobs.unfinished_tasks()), (1, 0));
    assert_eq!(array.to_vec()?, [1.5, 4.0]);
    assert_eq!(points.to_vec()?, [[1, 2], [9, 4]]);
    assert_eq!((value.get()?, flag.get()?, number.get()), (-6, 2, 1.5));
    assert_eq!(raw.to_vec(), [2, 2, 3]);
    assert_eq!(memory.get((2 << 20) - 1)?, 7);
    let mut byte = [0];
    segment.read_at(1, &mut byte)?;
    assert_eq!(byte, [5]);
    Ok(())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        ["open"] => open(),
        ["start", python, program] => start(python, program),
        _ => Err("usage: ticket_peer open | start PYTHON PROGRAM".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
