//! What a program hands to another one that it starts by itself, in whatever language that is written.

use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::connection::{RecvError, SendError};
use crate::face;
use crate::shm::ShmError;
use crate::sys::fds;

/// The variable by which a ticket travels: a descriptor, then names with what they stand for.
const VARIABLE: &str = "ALLCORES_TICKET";

/// The descriptor has been taken: it is one owner's.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Locks, queues and arrays for a program that this one starts with [`Command`]: another one in Rust, or one in Python,
/// where `allcores.multiprocessing.ticket` opens them.
///
/// [`Process`](super::Process) needs none of this: it runs a function of the same program.
///
/// | here | there (`received()`) |
/// |---|---|
/// | [`Lock<()>`](super::Lock) | `.lock(name)` |
/// | [`RLock<()>`](super::RLock) | `.rlock(name)` |
/// | [`Semaphore`](super::Semaphore) | `.semaphore(name)` |
/// | [`Queue`](super::Queue), by its bytes or with the codec `Pickle` | `.queue(name)` |
/// | [`RawArray<u8>`](super::RawArray) | `.memory(name)` |
///
/// What it carries lies in the arena that a program shares with its children, and is kept until it is opened. Both programs
/// must be of the same version of this library.
///
/// ```no_run
/// use allcores::multiprocessing::{Lock, Ticket};
/// use std::process::Command;
///
/// let lock = Lock::new(())?;
/// let mut python = Command::new("python3");
/// python.arg("worker.py");
/// let mut ticket = Ticket::new();
/// ticket.add("lock", &lock)?;
/// let inherited = ticket.attach(&mut python)?;
/// let mut child = python.spawn()?;
/// drop(inherited); // other programs need not have it
/// child.wait()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct Ticket {
    entries: Vec<(String, Vec<u8>)>,
}

/// Keeps the descriptor open that the child inherits: drop it once the child has been started.
#[derive(Debug)]
#[must_use = "the child must be started while this exists"]
pub struct Inherited {
    _file: OwnedFd,
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
    #[error("the ticket in {VARIABLE} cannot be read: was it made by another version?")]
    Unreadable,
    /// Nothing has that name, or it has been opened before.
    #[error("the ticket has nothing named {0:?} (any more): what it carries is opened once")]
    Unknown(String),
    /// The memory cannot be mapped.
    #[error("the memory that the ticket names cannot be mapped")]
    Memory(#[from] ShmError),
    /// What has that name is something else, or gone.
    #[error("what the ticket carries cannot be opened")]
    Open(#[from] RecvError),
}

impl Ticket {
    /// A ticket that carries nothing yet.
    pub fn new() -> Ticket {
        Ticket::default()
    }

    /// Has it carry a handle under a name.
    ///
    /// # Errors
    /// For handles that need a descriptor of their own, such as Connections, or lie in a separate arena.
    pub fn add<T: Serialize>(&mut self, name: &str, value: &T) -> Result<(), SendError> {
        let packed = face::pack(value)?;
        self.entries.push((name.to_owned(), packed.sent()));
        Ok(())
    }

    /// Has the program that the command starts get it.
    ///
    /// # Errors
    /// If the shared memory's file cannot be duplicated.
    pub fn attach(self, command: &mut Command) -> io::Result<Inherited> {
        let arena = face::common_arena().map_err(io::Error::other)?;
        let (file, number) = fds::inheritable(arena.as_fd())?;
        let mut text = number.to_string();
        for (name, bytes) in &self.entries {
            text.push(';');
            text.push_str(&hex(name.as_bytes()));
            text.push('=');
            text.push_str(&hex(bytes));
        }
        command.env(VARIABLE, text);
        Ok(Inherited { _file: file })
    }

    /// The ticket that this program was started with. To be called before it uses shared memory otherwise, and once.
    ///
    /// # Errors
    /// If there is none, or it cannot be read.
    pub fn received() -> Result<Ticket, TicketError> {
        let text = std::env::var(VARIABLE).map_err(|_| TicketError::None)?;
        let mut parts = text.split(';');
        let number: RawFd = parts
            .next()
            .and_then(|number| number.parse().ok())
            .ok_or(TicketError::Unreadable)?;
        let mut entries = Vec::new();
        for part in parts {
            let (name, bytes) = part.split_once('=').ok_or(TicketError::Unreadable)?;
            let name = unhex(name).and_then(|name| String::from_utf8(name).ok());
            let bytes = unhex(bytes);
            let (Some(name), Some(bytes)) = (name, bytes) else {
                return Err(TicketError::Unreadable);
            };
            entries.push((name, bytes));
        }
        if TAKEN.swap(true, Relaxed) {
            return Err(TicketError::None);
        }
        // SAFETY: nobody has taken it yet, and whoever set the variable had this program inherit the descriptor, for this.
        let inherited = unsafe { OwnedFd::from_raw_fd(number) };
        // Under another number and closed on exec: what this program starts is not to have it.
        let file = inherited.try_clone().map_err(|_| TicketError::Unreadable)?;
        face::meet_arena(file)?;
        Ok(Ticket { entries })
    }

    /// Opens what has that name; it must be what was added, and is opened once.
    ///
    /// # Errors
    /// If nothing has that name, or it is something else.
    pub fn open<T: DeserializeOwned>(&mut self, name: &str) -> Result<T, TicketError> {
        let place = self.entries.iter().position(|(other, _)| other == name);
        let place = place.ok_or_else(|| TicketError::Unknown(name.to_owned()))?;
        let (_, bytes) = self.entries.remove(place);
        Ok(face::unpack(&bytes)?)
    }
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
