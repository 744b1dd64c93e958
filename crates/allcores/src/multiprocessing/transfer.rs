//! How handles travel inside messages.
//!
//! A handle is a value that stands for something outside the bytes: a [`Connection`](super::Connection) and its
//! descriptor, a lock and its cell in an arena. It implements serde's traits like any other value, and its `Serialize`
//! hands the descriptor over here; what goes into the bytes is an index. That works only while a message is on its way:
//! inside `Connection::send` and `recv`, and in the arguments and the result of a `Process`. Elsewhere it is an error.
//!
//! ```
//! use allcores::multiprocessing::{Pipe, transfer};
//! use serde::{Deserialize, Deserializer, Serialize, Serializer};
//! use std::os::fd::{AsFd, OwnedFd};
//!
//! /// An open file that can be sent to another process.
//! struct SharedFile(OwnedFd);
//!
//! impl Serialize for SharedFile {
//!     fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
//!         let index = transfer::attach(self.0.as_fd()).map_err(serde::ser::Error::custom)?;
//!         serializer.serialize_u32(index)
//!     }
//! }
//! impl<'de> Deserialize<'de> for SharedFile {
//!     fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
//!         let index = u32::deserialize(deserializer)?;
//!         transfer::take(index).map(SharedFile).map_err(serde::de::Error::custom)
//!     }
//! }
//!
//! let (a, b) = Pipe::<SharedFile, ()>()?;
//! a.send(&SharedFile(std::fs::File::open("/dev/null")?.into()))?;
//! let file: SharedFile = b.recv()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::connection::Codec;
use crate::sys::fds;

/// The most descriptors that one message carries: the kernel's own bound.
pub const MOST_DESCRIPTORS: usize = fds::MOST_DESCRIPTORS;

/// Why a handle could not go out with a message, or come in with one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// No message is being sent on this thread.
    #[error(
        "a handle is being serialised outside a message: it travels through Connection::send, or in the arguments and the result of a Process, and means nothing in a file or a string"
    )]
    NotSending,
    /// No message is being received on this thread.
    #[error(
        "a handle is being deserialised outside a message: it arrives through Connection::recv, or in the arguments and the result of a Process"
    )]
    NotReceiving,
    /// The channel is a kernel pipe.
    #[error(
        "a one-way kernel pipe carries bytes and no descriptors: send the handle through a duplex Pipe()"
    )]
    OneWayPipe,
    /// The codec of the Connection is for ends that know no handles.
    #[error(
        "a handle does not travel in a {codec} message, whose other end need not be allcores: send it through a Connection with the Compact codec, or a bare descriptor with send_handle"
    )]
    NotInCodec {
        /// The codec's name.
        codec: &'static str,
    },
    /// The channel is a network socket.
    #[error(
        "a TCP connection carries bytes and no descriptors: on one machine connect the two programs by Address::unix(path) or Address::abstract_name(name) instead"
    )]
    Network,
    /// The receiver is an unrelated program, and what the handle names lies in the arena of this program and its children.
    #[error(
        "this would open all that this program shares with its children to an unrelated program: make an allcores::shm::Arena for what both share, and create it there by new_in"
    )]
    CommonArena,
    /// The message goes into a queue.
    #[error(
        "a queue carries bytes and handles into its own arena, and no descriptors: send this handle through a Connection, or in the arguments of a Process"
    )]
    InQueue,
    /// More than fit.
    #[error("more than {most} descriptors in one message: send the handles in several messages")]
    TooMany {
        /// How many fit into this message.
        most: usize,
    },
    /// The descriptor could not be duplicated.
    #[error("a descriptor could not be duplicated for a message: {}", io::Error::from_raw_os_error(*errno))]
    Duplicate {
        /// The system's error number.
        errno: i32,
    },
    /// The message names a descriptor that did not come with it.
    #[error(
        "the message names descriptor {index}, but {count} came with it: its sender is broken or hostile"
    )]
    Missing {
        /// What the message says.
        index: u32,
        /// How many came.
        count: usize,
    },
    /// The message names a descriptor twice.
    #[error("the message names descriptor {index} twice: its sender is broken or hostile")]
    AlreadyTaken {
        /// What the message says.
        index: u32,
    },
    /// The kernel could not deliver them all.
    #[error(
        "descriptor {index} of the message was lost on arrival: this process has too many open files (see RLIMIT_NOFILE, `ulimit -n`)"
    )]
    LostOnArrival {
        /// What the message says.
        index: u32,
    },
    /// Something else came where a bare descriptor was awaited.
    #[error(
        "a bare descriptor was awaited, and the byte {byte} came with {count} of them: the peer is not in send_handle, and nothing more can be received from this connection"
    )]
    NoHandle {
        /// What came.
        byte: u8,
        /// How many descriptors came with it.
        count: usize,
    },
    /// What a handle stands for could not be packed or opened.
    #[error("a handle in the message: {reason}")]
    Handle {
        /// What was wrong with it.
        reason: String,
    },
    /// The descriptor is not what the handle needs.
    #[error("descriptor {index} of the message is not {expected}: its sender is broken or hostile")]
    Unsuitable {
        /// What the message says.
        index: u32,
        /// What it should be.
        expected: &'static str,
    },
}

/// Something that goes along with a message and wants to know what became of it.
pub trait Parcel {
    /// The message is on its way: the kernel has it, or the child process has read it.
    fn delivered(self: Box<Self>);
    /// The message was not sent, or its receiver is known to have died before it read it.
    fn lost(self: Box<Self>);
    /// What undoes it as [`Parcel::lost`] would, in memory that the receiver shares. Not part of the API.
    #[doc(hidden)]
    fn pin(&self) -> Option<[u8; 8]> {
        None
    }
}

/// What a value hands over while it is serialised.
#[derive(Default)]
pub(crate) struct Outgoing {
    pub(crate) descriptors: Vec<OwnedFd>,
    /// The indices of descriptors that many handles share, by their keys.
    shared: Vec<(u64, u32)>,
    parcels: Parcels,
    room: usize,
    carrier: Carrier,
    /// The places of the arenas that a face has to hand over.
    arenas: Vec<u8>,
    /// The name of a codec that carries no handles.
    barred_by: Option<&'static str>,
    /// Whoever receives the message may be an unrelated program.
    foreign: bool,
}

/// What a message travels on, as far as descriptors go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Carrier {
    #[default]
    Descriptors,
    Pipe,
    Network,
    /// A queue in the arena with this id.
    Queue([u8; 16]),
    /// Whatever a face in another language starts its children with: it hands the arenas over by itself.
    Face,
    /// A ticket: descriptors are inherited, the common arena's apart from all others.
    Ticket,
}

/// All parcels of one message. Dropped without a word, they are lost.
#[derive(Default)]
pub(crate) struct Parcels(Vec<Box<dyn Parcel + Send>>);

impl Parcels {
    pub(crate) fn delivered(mut self) {
        self.0.drain(..).for_each(Parcel::delivered);
    }

    /// What undoes them.
    pub(crate) fn pins(&self) -> Vec<[u8; 8]> {
        self.0.iter().filter_map(|parcel| parcel.pin()).collect()
    }
}

impl Drop for Parcels {
    fn drop(&mut self) {
        self.0.drain(..).for_each(Parcel::lost);
    }
}

impl Outgoing {
    /// For a message that carries at most `room` descriptors.
    pub(crate) fn with_room(room: usize) -> Outgoing {
        Outgoing {
            room,
            ..Outgoing::default()
        }
    }

    /// For a message over a kernel pipe.
    pub(crate) fn over_pipe() -> Outgoing {
        Outgoing {
            carrier: Carrier::Pipe,
            ..Outgoing::default()
        }
    }

    /// For bytes that a face in another language sends on its own way, between relatives.
    pub(crate) fn by_face() -> Outgoing {
        Outgoing {
            carrier: Carrier::Face,
            ..Outgoing::default()
        }
    }

    /// For a ticket.
    pub(crate) fn in_ticket() -> Outgoing {
        Outgoing {
            carrier: Carrier::Ticket,
            room: MOST_DESCRIPTORS,
            ..Outgoing::default()
        }
    }

    /// The places of the arenas that the handles in the message lie in, where a face hands them over.
    pub(crate) fn arenas(&self) -> &[u8] {
        &self.arenas
    }

    /// For a message in a queue of that arena.
    pub(crate) fn in_queue(arena: [u8; 16]) -> Outgoing {
        Outgoing {
            carrier: Carrier::Queue(arena),
            ..Outgoing::default()
        }
    }

    /// For a message in these bytes.
    pub(crate) fn in_codec<C: Codec>(self) -> Outgoing {
        Outgoing {
            barred_by: bar::<C>(),
            ..self
        }
    }

    /// For a message over a network socket, so to a stranger.
    pub(crate) fn over_network() -> Outgoing {
        Outgoing {
            carrier: Carrier::Network,
            foreign: true,
            ..Outgoing::default()
        }
    }

    /// The receiver may be an unrelated program.
    pub(crate) fn for_stranger(self, foreign: bool) -> Outgoing {
        Outgoing {
            foreign: self.foreign || foreign,
            ..self
        }
    }

    pub(crate) fn borrowed(&self) -> Vec<BorrowedFd<'_>> {
        self.descriptors.iter().map(AsFd::as_fd).collect()
    }

    pub(crate) fn take_parcels(&mut self) -> Parcels {
        std::mem::take(&mut self.parcels)
    }

    fn has_room(&self) -> Result<(), TransferError> {
        admit(self.barred_by)?;
        match self.carrier {
            Carrier::Descriptors | Carrier::Ticket => {}
            Carrier::Pipe | Carrier::Face => return Err(TransferError::OneWayPipe),
            Carrier::Network => return Err(TransferError::Network),
            Carrier::Queue(_) => return Err(TransferError::InQueue),
        }
        if self.descriptors.len() >= self.room {
            return Err(TransferError::TooMany { most: self.room });
        }
        Ok(())
    }

    fn push(&mut self, descriptor: OwnedFd) -> u32 {
        self.descriptors.push(descriptor);
        self.descriptors.len() as u32 - 1
    }
}

fn bar<C: Codec>() -> Option<&'static str> {
    (!C::CARRIES_HANDLES).then_some(C::NAME)
}

fn admit(barred_by: Option<&'static str>) -> Result<(), TransferError> {
    match barred_by {
        None => Ok(()),
        Some(codec) => Err(TransferError::NotInCodec { codec }),
    }
}

/// What came with a message.
#[derive(Default)]
pub(crate) struct Incoming {
    pub(crate) descriptors: Vec<Option<OwnedFd>>,
    pub(crate) cut_short: bool,
    /// The name of a codec that carries no handles.
    barred_by: Option<&'static str>,
    /// Whoever sent the message may be an unrelated program.
    foreign: bool,
}

impl Incoming {
    pub(crate) fn new(descriptors: Vec<OwnedFd>, cut_short: bool) -> Incoming {
        Incoming {
            descriptors: descriptors.into_iter().map(Some).collect(),
            cut_short,
            barred_by: None,
            foreign: false,
        }
    }

    /// As a message in these bytes.
    pub(crate) fn in_codec<C: Codec>(self) -> Incoming {
        Incoming {
            barred_by: bar::<C>(),
            ..self
        }
    }

    /// The sender may be an unrelated program.
    pub(crate) fn of_stranger(self, foreign: bool) -> Incoming {
        Incoming { foreign, ..self }
    }

    fn place(&mut self, index: u32) -> Result<&mut Option<OwnedFd>, TransferError> {
        admit(self.barred_by)?;
        let count = self.descriptors.len();
        match self.descriptors.get_mut(index as usize) {
            Some(place) if place.is_some() => Ok(place),
            Some(_) => Err(TransferError::AlreadyTaken { index }),
            None if self.cut_short => Err(TransferError::LostOnArrival { index }),
            None => Err(TransferError::Missing { index, count }),
        }
    }
}

enum Way {
    Out(Outgoing),
    In(Incoming),
}

struct Context {
    way: Way,
    /// The first failure: the codec may know no better than to say "failed".
    failure: Option<TransferError>,
}

thread_local! {
    /// The messages that this thread is in the middle of, innermost last: a value may send another message while it is
    /// serialised itself.
    static OPEN: RefCell<Vec<Context>> = const { RefCell::new(Vec::new()) };
}

/// Runs `work` with a context open on this thread, also closing it if `work` panics.
fn within<T>(way: Way, work: impl FnOnce() -> T) -> (T, Context) {
    struct Unwind;
    impl Drop for Unwind {
        fn drop(&mut self) {
            OPEN.with_borrow_mut(Vec::pop);
        }
    }
    OPEN.with_borrow_mut(|open| open.push(Context { way, failure: None }));
    let unwind = Unwind;
    let result = work();
    std::mem::forget(unwind);
    let context = OPEN.with_borrow_mut(Vec::pop);
    (result, context.expect("the context that was opened above"))
}

/// Runs `work`, which serialises something, and tells what its handles handed over, or why they could not.
pub(crate) fn sending<T>(
    outgoing: Outgoing,
    work: impl FnOnce() -> T,
) -> (T, Outgoing, Option<TransferError>) {
    match within(Way::Out(outgoing), work) {
        (
            result,
            Context {
                way: Way::Out(out),
                failure,
            },
        ) => (result, out, failure),
        _ => unreachable!("the context keeps its direction"),
    }
}

/// Runs `work`, which deserialises something. What its handles do not take is closed.
pub(crate) fn receiving<T>(
    incoming: Incoming,
    work: impl FnOnce() -> T,
) -> (T, Option<TransferError>) {
    let (result, context) = within(Way::In(incoming), work);
    (result, context.failure)
}

fn in_context<T>(
    nobody: TransferError,
    work: impl FnOnce(&mut Way) -> Option<Result<T, TransferError>>,
) -> Result<T, TransferError> {
    OPEN.with_borrow_mut(|open| {
        let Some(context) = open.last_mut() else {
            return Err(nobody);
        };
        let result = work(&mut context.way).unwrap_or(Err(nobody));
        if let Err(error) = &result {
            context.failure.get_or_insert_with(|| error.clone());
        }
        result
    })
}

fn outgoing<T>(
    work: impl FnOnce(&mut Outgoing) -> Result<T, TransferError>,
) -> Result<T, TransferError> {
    in_context(TransferError::NotSending, |way| match way {
        Way::Out(out) => Some(work(out)),
        Way::In(_) => None,
    })
}

fn incoming<T>(
    work: impl FnOnce(&mut Incoming) -> Result<T, TransferError>,
) -> Result<T, TransferError> {
    in_context(TransferError::NotReceiving, |way| match way {
        Way::In(incoming) => Some(work(incoming)),
        Way::Out(_) => None,
    })
}

fn duplicate(descriptor: BorrowedFd<'_>) -> Result<OwnedFd, TransferError> {
    fds::duplicate(descriptor, 0).map_err(|error| TransferError::Duplicate {
        errno: error.raw_os_error().unwrap_or(0),
    })
}

/// Sends a duplicate of `descriptor` with the message that is being serialised on this thread, and returns the index by
/// which its receiver [`take`]s it. `descriptor` itself stays as it is.
///
/// # Errors
/// Outside a message, over a one-way pipe or TCP, beyond [`MOST_DESCRIPTORS`], or without a free descriptor for the duplicate.
pub fn attach(descriptor: BorrowedFd<'_>) -> Result<u32, TransferError> {
    outgoing(|out| {
        out.has_room()?;
        Ok(out.push(duplicate(descriptor)?))
    })
}

/// As [`attach`], for a descriptor that is not needed here any more.
///
/// # Errors
/// As [`attach`]; the descriptor is closed then.
pub fn attach_owned(descriptor: OwnedFd) -> Result<u32, TransferError> {
    outgoing(|out| {
        out.has_room()?;
        Ok(out.push(descriptor))
    })
}

/// As [`attach`], for a descriptor that many handles of one message share: all calls with the same `key` send it once.
/// Its receivers use [`lend`].
///
/// # Errors
/// As [`attach`].
pub fn attach_shared(key: u64, descriptor: BorrowedFd<'_>) -> Result<u32, TransferError> {
    outgoing(|out| {
        if let Some((_, index)) = out.shared.iter().find(|(known, _)| *known == key) {
            return Ok(*index);
        }
        out.has_room()?;
        let index = out.push(duplicate(descriptor)?);
        out.shared.push((key, index));
        Ok(index)
    })
}

/// Has `parcel` told what becomes of the message that is being serialised on this thread.
///
/// # Errors
/// Outside a message; the parcel is told that it is lost.
pub fn accompany(parcel: Box<dyn Parcel + Send>) -> Result<(), TransferError> {
    let mut parcel = Some(parcel);
    let result = outgoing(|out| {
        out.parcels.0.extend(parcel.take());
        Ok(())
    });
    if let Some(parcel) = parcel {
        parcel.lost();
    }
    result
}

/// Takes a descriptor that came with the message that is being deserialised on this thread.
///
/// # Errors
/// Outside a message, and for an index that did not come with it or has been taken.
pub fn take(index: u32) -> Result<OwnedFd, TransferError> {
    incoming(|incoming| {
        let place = incoming.place(index)?;
        Ok(place.take().expect("places that are empty are errors"))
    })
}

/// As [`take`], for a descriptor that must be what `expected` says: `judge` tells what it is.
pub(crate) fn take_as<K>(
    index: u32,
    expected: &'static str,
    judge: impl FnOnce(BorrowedFd<'_>) -> Option<K>,
) -> Result<(OwnedFd, K), TransferError> {
    let descriptor = take(index)?;
    match judge(descriptor.as_fd()) {
        Some(kind) => Ok((descriptor, kind)),
        None => incoming(|_| Err(TransferError::Unsuitable { index, expected })),
    }
}

/// Looks at a descriptor that came with the message, without taking it: it is closed at the end of the message unless
/// somebody takes it.
///
/// # Errors
/// As [`take`].
pub fn lend<T>(index: u32, look: impl FnOnce(BorrowedFd<'_>) -> T) -> Result<T, TransferError> {
    // Out of its place meanwhile, so that `look` may use this module.
    let descriptor = take(index)?;
    let result = look(descriptor.as_fd());
    incoming(|incoming| {
        incoming.descriptors[index as usize] = Some(descriptor);
        Ok(result)
    })
}

/// Has the message that is being sent or received on this thread fail for what is wrong with one of its handles: codecs
/// tend to lose the reason. Gives the reason back.
pub(crate) fn fail(reason: impl ToString) -> TransferError {
    fail_by(TransferError::Handle {
        reason: reason.to_string(),
    })
}

/// As [`fail`], for a failure that has a name. Gives it back.
pub(crate) fn fail_by(error: TransferError) -> TransferError {
    let _ = in_context::<()>(error.clone(), |_| Some(Err(error.clone())));
    error
}

/// Whether the message that is being sent or received on this thread may hold handles, as far as its codec goes.
pub(crate) fn admits_handles() -> Result<(), TransferError> {
    OPEN.with_borrow_mut(|open| {
        let Some(context) = open.last_mut() else {
            return Ok(());
        };
        let answer = admit(match &context.way {
            Way::Out(out) => out.barred_by,
            Way::In(incoming) => incoming.barred_by,
        });
        if let Err(error) = &answer {
            context.failure.get_or_insert_with(|| error.clone());
        }
        answer
    })
}

/// Whether the message that is being serialised on this thread can carry descriptors: not so over a one-way kernel pipe, nor
/// over TCP.
pub fn carries_descriptors() -> bool {
    OPEN.with_borrow(|open| match open.last() {
        Some(Context {
            way: Way::Out(out), ..
        }) => matches!(out.carrier, Carrier::Descriptors | Carrier::Ticket),
        _ => true,
    })
}

/// Whether the message that is being serialised on this thread goes into a queue of the arena with this id.
pub(crate) fn in_queue_of(arena: [u8; 16]) -> bool {
    OPEN.with_borrow(|open| {
        matches!(open.last(), Some(Context { way: Way::Out(out), .. }) if out.carrier == Carrier::Queue(arena))
    })
}

/// Whether a face sends the message that is being serialised on this thread: then it is told of the arena at this place,
/// and sees to it that the receiver has it.
pub(crate) fn handed_over_by_face(arena: u8) -> bool {
    OPEN.with_borrow_mut(|open| match open.last_mut() {
        Some(Context {
            way: Way::Out(out), ..
        }) if out.carrier == Carrier::Face => {
            if !out.arenas.contains(&arena) {
                out.arenas.push(arena);
            }
            true
        }
        _ => false,
    })
}

/// Whether it goes into a ticket.
pub(crate) fn in_ticket() -> bool {
    OPEN.with_borrow(|open| {
        matches!(open.last(), Some(Context { way: Way::Out(out), .. }) if out.carrier == Carrier::Ticket)
    })
}

/// Whether it goes into any queue.
pub(crate) fn is_in_queue() -> bool {
    OPEN.with_borrow(|open| {
        matches!(
            open.last(),
            Some(Context {
                way: Way::Out(Outgoing {
                    carrier: Carrier::Queue(_),
                    ..
                }),
                ..
            })
        )
    })
}

/// Whether the message that is being serialised on this thread goes to what may be an unrelated program: its connection
/// was made by a `Listener` or a `Client`. What only relatives may have must not go along.
pub fn to_stranger() -> bool {
    OPEN.with_borrow(
        |open| matches!(open.last(), Some(Context { way: Way::Out(out), .. }) if out.foreign),
    )
}

/// Whether the message that is being deserialised on this thread comes from what may be an unrelated program.
pub fn from_stranger() -> bool {
    OPEN.with_borrow(|open| {
        matches!(open.last(), Some(Context { way: Way::In(incoming), .. }) if incoming.foreign)
    })
}

/// Whether a message is being serialised or deserialised on this thread.
pub fn is_open() -> bool {
    OPEN.with_borrow(|open| !open.is_empty())
}
