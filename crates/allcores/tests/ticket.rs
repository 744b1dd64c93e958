//! Tickets between two programs in Rust, and those that nobody wrote as they are; Python's are in `python/tests`.

use std::os::fd::AsRawFd;
use std::process::Command;

use allcores::multiprocessing::{
    Array, Event, Lock, Pipe, Queue, RawArray, SharedMemory, Ticket, TicketError, Value,
};

/// This program once more, as the other one: it runs one of the tests below that do nothing otherwise.
fn other(part: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([part, "--exact", "--ignored", "--quiet"]);
    command
}

#[test]
fn everything_travels() {
    let lock = Lock::new(7u32).unwrap();
    let array = Array::from_slice(&[1i16, 2]).unwrap();
    let value = Value::new([0u64; 2]).unwrap();
    let segment = SharedMemory::new(1 << 20).unwrap();
    let (mine, others) = Pipe::<String, u32>().unwrap();
    let done = Event::new().unwrap();
    let mut ticket = Ticket::new();
    ticket.add("lock", &lock).unwrap();
    ticket.add("array", &array).unwrap();
    ticket.add("value", &value).unwrap();
    ticket.add("segment", &segment).unwrap();
    ticket.add("connection", &others).unwrap();
    ticket.add("both", &(done.clone(), 5u8)).unwrap();
    let mut command = other("opens_everything");
    let inherited = ticket.attach(&mut command).unwrap();
    let mut child = command.spawn().unwrap();
    drop((inherited, others));
    mine.send(&"hello".to_owned()).unwrap();
    assert_eq!(mine.recv().unwrap(), 5);
    assert!(child.wait().unwrap().success() && done.is_set());
    assert_eq!(*lock.acquire().unwrap(), 8);
    assert_eq!(
        (array.to_vec().unwrap(), value.get().unwrap()),
        (vec![1, 3], [5, 0])
    );
    let mut byte = [0];
    segment.read_at(0, &mut byte).unwrap();
    assert_eq!(byte, [9]);
}

#[test]
#[ignore = "a part of everything_travels"]
fn opens_everything() {
    let mut ticket = Ticket::received().unwrap();
    assert!(matches!(Ticket::received(), Err(TicketError::None)));
    let refused = ticket.open::<Lock<f32>>("lock").unwrap_err().to_string();
    assert!(
        refused.contains("Lock<u32>") && refused.contains("Lock<f32>"),
        "{refused}"
    );
    assert!(refused.contains("Lock of u32, not of f32"), "{refused}");
    let refused = ticket.open::<Array<i32>>("array").unwrap_err().to_string();
    assert!(refused.contains("Array of i16, not of i32"), "{refused}");
    let refused = ticket
        .open::<RawArray<i16>>("array")
        .unwrap_err()
        .to_string();
    assert!(refused.contains("not a RawArray"), "{refused}");
    let refused = ticket
        .open::<Value<[u64; 3]>>("value")
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("24 bytes") || refused.contains("32 bytes"),
        "{refused}"
    );
    *ticket.open::<Lock<u32>>("lock").unwrap().acquire().unwrap() += 1;
    ticket
        .open::<Array<i16>>("array")
        .unwrap()
        .set(1, 3)
        .unwrap();
    ticket
        .open::<Value<[u64; 2]>>("value")
        .unwrap()
        .set([5, 0])
        .unwrap();
    ticket
        .open::<SharedMemory>("segment")
        .unwrap()
        .write_at(0, &[9])
        .unwrap();
    let (done, five): (Event, u8) = ticket.open("both").unwrap();
    let connection: allcores::multiprocessing::Connection<u32, String> =
        ticket.open("connection").unwrap();
    assert_eq!((connection.recv().unwrap().as_str(), five), ("hello", 5));
    done.set();
    connection.send(&5).unwrap();
    assert!(matches!(
        ticket.open::<Lock<u32>>("lock"),
        Err(TicketError::Unknown(_))
    ));
}

/// The ticket for a queue, as text, with what keeps its descriptors open.
fn text_of(queue: &Queue<()>) -> (String, impl Sized) {
    let mut ticket = Ticket::new();
    ticket.add("queue", queue).unwrap();
    let mut command = other("nothing");
    let inherited = ticket.attach(&mut command).unwrap();
    let (_, text) = command.get_envs().next().unwrap();
    (text.unwrap().to_str().unwrap().to_owned(), inherited)
}

fn is_refused(text: &str) {
    let mut command = other("is_garbled");
    let child = command.env("ALLCORES_TICKET", text).output().unwrap();
    assert!(child.status.success(), "{text}: {child:?}");
}

#[test]
fn a_garbled_ticket_is_an_error() {
    let queue = Queue::<()>::new().unwrap();
    let (good, inherited) = text_of(&queue);
    let other = std::fs::File::open("/dev/null").unwrap();
    let number = other.as_raw_fd();
    for text in [
        "",
        ";",
        "1;3",
        "2",
        "2;",
        "2;x",
        "2;-1",
        "2;1",
        "2;99999999999",
        "2;987654",
    ] {
        is_refused(text);
    }
    is_refused(&format!("2;{number}"));
    is_refused(&good.replace('=', ""));
    is_refused(&good.replace(':', ""));
    is_refused(&good.replace(':', ":zz"));
    is_refused(&format!("{good}1,1"));
    is_refused(&good[..good.len() - 3]);
    drop(inherited);
}

#[test]
#[ignore = "a part of a_garbled_ticket_is_an_error"]
fn is_garbled() {
    match Ticket::received() {
        Err(error) => println!("{error}"),
        Ok(mut ticket) => println!("{}", ticket.open::<Queue<()>>("queue").unwrap_err()),
    }
    // What it named is not touched.
    println!("still here");
}

#[test]
fn a_garbled_entry_is_an_error() {
    let queue = Queue::<()>::new().unwrap();
    let (good, inherited) = text_of(&queue);
    let mut command = other("opens_once");
    let (start, message) = good.rsplit_once(':').unwrap().0.rsplit_once(':').unwrap();
    let arena = start.split(';').nth(1).unwrap();
    let mut text = format!("2;{arena}");
    // Each digit in turn is another one; the last entry is as it should be.
    for place in 0..message.len() {
        let mut damaged = message.as_bytes().to_vec();
        damaged[place] = if damaged[place] == b'7' { b'8' } else { b'7' };
        let name: String = place
            .to_string()
            .bytes()
            .map(|digit| format!("{digit:02x}"))
            .collect();
        text += &format!(";{name}=:{}:", String::from_utf8(damaged).unwrap());
    }
    text += &format!(";61=:{message}:");
    command.env("ALLCORES_TICKET", text);
    let child = command.output().unwrap();
    assert!(child.status.success(), "{child:?}");
    drop(inherited);
    assert_eq!(queue.get_bytes().unwrap(), b"opened");
}

#[test]
#[ignore = "a part of a_garbled_entry_is_an_error"]
fn opens_once() {
    let mut ticket = Ticket::received().unwrap();
    let errors =
        (0..).map(|place: usize| ticket.open::<Queue<()>>(&place.to_string()).unwrap_err());
    let refused = errors
        .take_while(|error| !matches!(error, TicketError::Unknown(_)))
        .count();
    assert!(refused > 40, "{refused}");
    let queue: Queue<()> = ticket.open("a").unwrap();
    queue.put_bytes(b"opened").unwrap();
}
