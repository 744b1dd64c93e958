//! What a program hands to another one that it starts by itself, in whatever language that is written.
//!
//! A ticket is text in a variable of the environment: its format, the number of the inherited descriptor of the common arena,
//! and an entry for each handle: name, what it is (for people), what would be sent in a message, and the numbers of the
//! descriptors that would be sent along.
//!
//! ```text
//! 2;ARENA;NAME=WHAT:MESSAGE:DESCRIPTOR,DESCRIPTOR;…        all but the numbers in hexadecimal digits
//! ```

use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::connection::{RecvError, SendError};
use crate::face;
use crate::shm::ShmError;
use crate::sys::fds;

/// The variable by which a ticket travels.
const VARIABLE: &str = "ALLCORES_TICKET";

/// Moves with every change of what is written there.
const FORMAT: &str = "2";

/// The descriptors have been taken: they are one owner's.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Locks, queues, arrays and more for a program that this one starts with [`Command`]: another one in Rust, or one in Python,
/// where `allcores.multiprocessing.ticket` opens them.
///
/// [`Process`](super::Process) needs none of this: it runs a function of the same program.
///
/// | here | there, as a method of what `received()` returns |
/// |---|---|
/// | [`Lock<()>`](super::Lock), [`RLock<()>`](super::RLock) | `lock(name)`, `rlock(name)` |
/// | [`Semaphore`](super::Semaphore), [`BoundedSemaphore`](super::BoundedSemaphore), [`OwnedSemaphore`](super::OwnedSemaphore) | `semaphore(name)`, `bounded_semaphore(name)`, `owned_semaphore(name)` |
/// | [`Event`](super::Event), [`Barrier`](super::Barrier) | `event(name)`, `barrier(name, action, timeout)` |
/// | [`Condition`](super::Condition), and apart from it the lock around it | `condition(name, lock)` |
/// | [`Queue`](super::Queue): the bytes of its messages | `bytes_queue(name)`; `queue(name)` if they are pickles |
/// | [`JoinableQueue`](super::JoinableQueue), if the bytes are pickles | `joinable_queue(name)` |
/// | [`Array<T>`](super::Array), [`Value<T>`](super::Value), with their lock | `array(name)`, `value(name)` |
/// | [`RawArray<T>`](super::RawArray), [`RawValue<T>`](super::RawValue) | `raw_array(name)`, `raw_value(name)` |
/// | `RawArray<u8>`, or a [`SharedMemory`](super::SharedMemory) without a name | `memory(name)`: its bytes |
///
/// Between two programs in Rust also all else that a message of a [`Connection`](super::Connection) carries.
///
/// What lies in the arena that a program shares with its children is kept until it is opened. Both programs must be of the
/// same version of this library. They trust each other as a process and its children do.
///
/// ```no_run
/// use allcores::multiprocessing::{Array, Lock, Ticket};
/// use std::process::Command;
///
/// let (lock, samples) = (Lock::new(())?, Array::from_slice(&[0.5, 1.5])?);
/// let mut python = Command::new("python3");
/// python.arg("worker.py"); // ticket = received(); ticket.lock("lock"), ticket.array("samples")
/// let mut ticket = Ticket::new();
/// ticket.add("lock", &lock)?;
/// ticket.add("samples", &samples)?;
/// let inherited = ticket.attach(&mut python)?;
/// let mut child = python.spawn()?;
/// drop(inherited); // other programs need not have it
/// child.wait()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct Ticket {
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    name: String,
    /// What it is, for people.
    what: String,
    message: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

/// Keeps the descriptors open that the child inherits: drop it once the child has been started.
#[derive(Debug)]
#[must_use = "the child must be started while this exists"]
pub struct Inherited {
    _files: Vec<OwnedFd>,
}

/// A ticket could not be read, or what it names could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TicketError {
    /// This program was started without one, or has taken it already.
    #[error(
        "this program got no ticket (any more): it must be started by one that attaches it, and takes it once"
    )]
    None,
    /// It is not what `attach` writes.
    #[error(
        "the ticket in {VARIABLE} cannot be read: {reason}; both programs must be of the same version of allcores"
    )]
    Unreadable {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Nothing has that name, or it has been opened before.
    #[error("the ticket has nothing named {0:?} (any more): what it carries is opened once")]
    Unknown(String),
    /// The memory cannot be mapped.
    #[error("the memory that the ticket names cannot be mapped: {0}")]
    Memory(#[from] ShmError),
    /// What has that name is something else, or gone. It can still be opened as what it is.
    #[error("{name:?} is {what} in the ticket, and cannot be opened as {wanted}: {source}")]
    Open {
        /// What it is called.
        name: String,
        /// What was put into the ticket.
        what: String,
        /// What was asked for.
        wanted: String,
        /// Why not.
        source: RecvError,
    },
}

fn unreadable(reason: &'static str) -> TicketError {
    TicketError::Unreadable { reason }
}

impl Ticket {
    /// A ticket that carries nothing yet.
    pub fn new() -> Ticket {
        Ticket::default()
    }

    /// Has it carry a handle under a name.
    ///
    /// # Errors
    /// As for [`Connection::send`](super::Connection::send).
    pub fn add<T: Serialize>(&mut self, name: &str, value: &T) -> Result<(), SendError> {
        let mut packed = face::pack_with_descriptors(value)?;
        self.entries.push(Entry {
            name: name.to_owned(),
            what: short_name::<T>(),
            descriptors: packed.take_descriptors(),
            message: packed.sent(),
        });
        Ok(())
    }

    /// Has the program that the command starts get it.
    ///
    /// # Errors
    /// If a descriptor cannot be duplicated.
    pub fn attach(self, command: &mut Command) -> io::Result<Inherited> {
        let arena = face::common_arena().map_err(io::Error::other)?;
        let mut files = Vec::new();
        let mut inherit = |descriptor: BorrowedFd<'_>| {
            let (file, number) = fds::inheritable(descriptor)?;
            files.push(file);
            Ok::<String, io::Error>(number.to_string())
        };
        let mut text = format!("{FORMAT};{}", inherit(arena.as_fd())?);
        for entry in &self.entries {
            let numbers = entry.descriptors.iter().map(|file| inherit(file.as_fd()));
            text += &format!(
                ";{}={}:{}:{}",
                hex(entry.name.as_bytes()),
                hex(entry.what.as_bytes()),
                hex(&entry.message),
                numbers.collect::<Result<Vec<_>, _>>()?.join(","),
            );
        }
        command.env(VARIABLE, text);
        Ok(Inherited { _files: files })
    }

    /// The ticket that this program was started with. To be called before it uses shared memory otherwise, and once.
    ///
    /// # Errors
    /// If there is none, or it cannot be read.
    pub fn received() -> Result<Ticket, TicketError> {
        let text = std::env::var_os(VARIABLE).ok_or(TicketError::None)?;
        let text = text.to_str().ok_or(unreadable("it is no text"))?;
        let (arena, entries) = parse(text)?;
        if TAKEN.swap(true, Relaxed) {
            return Err(TicketError::None);
        }
        // Under other numbers and closed on exec: what this program starts is not to have them. And nothing is closed before
        // it is known that these are what they should be.
        let numbers = entries.iter().flat_map(|entry| &entry.numbers);
        let inherited: Vec<RawFd> = numbers.copied().chain([arena]).collect();
        let mut copies = Vec::new();
        for number in &inherited {
            // SAFETY: whoever set the variable had this program inherit it; if it is not open, this fails.
            let file = unsafe { BorrowedFd::borrow_raw(*number) };
            let copy = file.try_clone_to_owned();
            copies.push(copy.map_err(|_| unreadable("a descriptor in it is not open"))?);
        }
        if let Some(arena) = copies.pop() {
            face::meet_arena(arena)?;
        }
        for number in inherited {
            // SAFETY: it was inherited for this and is nobody else's, and `parse` saw to it that each is there once.
            drop(unsafe { OwnedFd::from_raw_fd(number) });
        }
        let mut copies = copies.into_iter();
        let entries = entries.into_iter().map(|entry| Entry {
            descriptors: copies.by_ref().take(entry.numbers.len()).collect(),
            name: entry.name,
            what: entry.what,
            message: entry.message,
        });
        Ok(Ticket {
            entries: entries.collect(),
        })
    }

    /// Opens what has that name; it must be what was added, and is opened once.
    ///
    /// # Errors
    /// If nothing has that name, or it is something else.
    pub fn open<T: DeserializeOwned>(&mut self, name: &str) -> Result<T, TicketError> {
        let place = self.entries.iter().position(|entry| entry.name == name);
        let place = place.ok_or_else(|| TicketError::Unknown(name.to_owned()))?;
        let entry = &self.entries[place];
        let copies = entry.descriptors.iter().map(OwnedFd::try_clone).collect();
        let opened = match copies {
            Ok(copies) => face::unpack_with_descriptors(&entry.message, copies),
            Err(error) => Err(error.into()),
        };
        let opened = opened.map_err(|source| TicketError::Open {
            name: name.to_owned(),
            what: entry.what.clone(),
            wanted: short_name::<T>(),
            source,
        })?;
        self.entries.remove(place);
        Ok(opened)
    }
}

/// An entry whose descriptors are numbers yet.
struct Written {
    name: String,
    what: String,
    message: Vec<u8>,
    numbers: Vec<RawFd>,
}

fn parse(text: &str) -> Result<(RawFd, Vec<Written>), TicketError> {
    let mut parts = text.split(';');
    if parts.next() != Some(FORMAT) {
        return Err(unreadable("it is of another format"));
    }
    let mut seen = Vec::new();
    let mut number = |text: &str| {
        let number = text.parse().ok().filter(|number| *number > 2);
        let number: RawFd = number.ok_or(unreadable("a descriptor in it is none"))?;
        if seen.contains(&number) {
            return Err(unreadable("a descriptor in it is there twice"));
        }
        seen.push(number);
        Ok(number)
    };
    let arena = number(parts.next().unwrap_or_default())?;
    let mut entries = Vec::new();
    for part in parts {
        let cut = unreadable("an entry in it is cut short or damaged");
        let fields = part.split_once('=').and_then(|(name, rest)| {
            let mut rest = rest.split(':');
            let what = rest.next()?;
            let (message, numbers) = (rest.next()?, rest.next()?);
            let text = |field| String::from_utf8(unhex(field)?).ok();
            Some((text(name)?, text(what)?, unhex(message)?, numbers))
        });
        let (name, what, message, numbers) = fields.ok_or(cut)?;
        let numbers = numbers.split(',').filter(|number| !number.is_empty());
        let numbers = numbers.map(&mut number).collect::<Result<_, _>>()?;
        entries.push(Written {
            name,
            what,
            message,
            numbers,
        });
    }
    Ok((arena, entries))
}

/// A type's name without the modules.
fn short_name<T: ?Sized>() -> String {
    let mut short = String::new();
    for piece in
        std::any::type_name::<T>().split_inclusive(|c: char| !c.is_alphanumeric() && c != '_')
    {
        match piece.strip_suffix(':') {
            // Of `a::b`, "a:" and ":" go.
            Some(_) => {}
            None => short += piece,
        }
    }
    short
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}
