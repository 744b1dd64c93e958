//! The door for faces in other languages: how their objects name what lies in the arena that a program shares with its
//! children, and how that reaches a child that such a face starts by itself.
//!
//! Hidden from the documentation and without promise of stability, as [`sync`](crate::sync) is.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use crate::multiprocessing::connection::codec::pickle::opcode as pickle_opcode;
pub use crate::multiprocessing::connection::looking::{Looked, Looking, Sighting, look};
pub use crate::multiprocessing::piece::{Element, Piece, PieceKind};
pub use crate::sys::known::Known;

use crate::multiprocessing::connection::{RecvError, SendError, stream};
use crate::multiprocessing::transfer::{Incoming, Outgoing, Parcels};
use crate::multiprocessing::{Lock, SharedMemory, SharedMemoryError};
use crate::registry;
use crate::shm::{ShmError, arena, forks, handle};
use crate::sync::Scope;
use crate::sys::local::Local;

/// A value with handles in it, as bytes that a relative of this process can [`unpack`], once.
///
/// What the handles name is kept until then. Dropped before [`Packed::sent`], the bytes are worth nothing.
pub struct Packed {
    bytes: Vec<u8>,
    arenas: Vec<u8>,
    descriptors: Vec<OwnedFd>,
    parcels: Parcels,
}

impl Packed {
    /// The files of the arenas that the receiver must know before it unpacks: see [`meet_arena`]. They stay open as long as
    /// this process lives.
    pub fn arenas(&self) -> Vec<BorrowedFd<'static>> {
        let file = |index: &u8| arena::at(Scope::arena(*index)).as_fd();
        self.arenas.iter().map(file).collect()
    }

    /// The descriptors that belong to the message, in their order: see [`pack_with_descriptors`].
    pub fn take_descriptors(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.descriptors)
    }

    /// The bytes, on their way from here on: what their handles name lives until a receiver has unpacked them, and if
    /// none ever does, as long as the arena.
    pub fn sent(self) -> Vec<u8> {
        self.parcels.delivered();
        self.bytes
    }
}

/// Packs a value with handles in it. The caller hands over their arenas.
///
/// # Errors
/// For handles that need a descriptor of their own.
pub fn pack<T: Serialize>(value: &T) -> Result<Packed, SendError> {
    pack_into(value, Outgoing::by_face())
}

/// As [`pack`], also for handles that need descriptors of their own, which the caller hands over with the bytes. The common
/// arena is not among them.
///
/// # Errors
/// If there are too many.
pub fn pack_with_descriptors<T: Serialize>(value: &T) -> Result<Packed, SendError> {
    pack_into(value, Outgoing::in_ticket())
}

fn pack_into<T: Serialize>(value: &T, outgoing: Outgoing) -> Result<Packed, SendError> {
    let (encoded, mut outgoing) = stream::encode(value, outgoing)?;
    Ok(Packed {
        bytes: encoded.payload().to_vec(),
        arenas: outgoing.arenas().to_vec(),
        descriptors: std::mem::take(&mut outgoing.descriptors),
        parcels: outgoing.take_parcels(),
    })
}

/// The value that a relative of this process packed.
///
/// # Errors
/// If it is not that, has been unpacked before, or what it names is gone.
pub fn unpack<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, RecvError> {
    stream::decode(bytes, Incoming::default())
}

/// The value that a relative packed with descriptors.
///
/// # Errors
/// As for [`unpack`].
pub fn unpack_with_descriptors<T: DeserializeOwned>(
    bytes: &[u8],
    descriptors: Vec<OwnedFd>,
) -> Result<T, RecvError> {
    stream::decode(bytes, Incoming::new(descriptors, false))
}

/// The file of the common arena, which is made if there is none yet. It stays open as long as this process lives.
///
/// # Errors
/// If it cannot be had.
pub fn common_arena() -> Result<BorrowedFd<'static>, ShmError> {
    arena::common().map(AsFd::as_fd)
}

/// Makes the arena of the parent's family this process's common one. To be called before this process uses any shared
/// memory; later it has no effect.
pub fn adopt_arena(file: OwnedFd) {
    arena::adopt_from_parent(file);
}

/// Has this process know an arena that a relative handed over: as its common one if it has none yet, and beside it
/// otherwise.
///
/// # Errors
/// If it is no arena, or cannot be mapped.
pub fn meet_arena(file: OwnedFd) -> Result<(), ShmError> {
    arena::meet(file)
}

/// The process that an owner's number in a lock word names, for messages to people. `None` if it is not known any more.
pub fn process_of(scope: Scope, owner: u32) -> Option<u32> {
    crate::registry::pid_of(scope, owner)
}

/// The memory behind a descriptor that a relative handed over: one of its [`SharedMemory`] without a name.
///
/// # Errors
/// If it is not that, or cannot be mapped.
pub fn received_memory(file: OwnedFd) -> Result<SharedMemory, SharedMemoryError> {
    SharedMemory::received(file)
}

/// Held locks that no object stands for any more.
static HELD: Local<Vec<Lock>> = Local::new(Vec::new());

/// Takes the last handle of a lock that this process may hold: if it does, the lock stays taken, as it would with a handle.
pub fn part_with(lock: Lock) {
    let is_mine = |lock: &Lock| lock.words().0.is_mine(lock.words().1);
    if !is_mine(&lock) {
        return;
    }
    let released = {
        let mut held = HELD.lock();
        held.push(lock);
        let all = std::mem::take(&mut *held);
        let (still, released): (Vec<Lock>, Vec<Lock>) = all.into_iter().partition(is_mine);
        *held = still;
        released
    };
    drop(released);
}

/// This process comes to a normal end, which is no death for a plain lock: those that it holds stay taken, and anybody may
/// release them. To be called as late as possible.
pub fn leave_locks() {
    crate::multiprocessing::queue::settle::settle();
    for arena in arena::all() {
        // Another thread may be there, or have been stopped there by the end of the interpreter.
        let _ = (0..100).any(|_| {
            let done = handle::leave_locks(arena);
            if !done {
                crate::sys::offer_cpu();
            }
            done
        });
    }
}

/// Lets go of what processes that died held: worth it when one is known to have ended.
pub fn reap() {
    registry::reap_all();
}

/// Before this thread forks: what the child will have copied handles of is kept until it has joined.
pub fn before_fork() {
    forks::before();
}

/// After that, in the parent.
pub fn after_fork_in_parent() {
    forks::in_parent();
}

/// After that, in the child, before it uses any handle.
pub fn after_fork_in_child() {
    forks::in_child();
}

/// For a face whose signal handlers have a second half that runs when a wait of the main thread comes back: the waits come back
/// where a signal may have gone by unseen, as if interrupted. Rarely, and never for a wait of less than five milliseconds.
pub fn tell_of_signals() {
    crate::sync::sleep::tell_of_signals();
}
