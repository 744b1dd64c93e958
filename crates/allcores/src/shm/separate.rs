//! Arenas that a program makes by itself, to share them with programs that are no relatives.

use std::fmt;

use super::{ShmError, arena};

/// A shared memory of its own, beside the one that a program has in common with its children.
///
/// Everything in [`multiprocessing`](crate::multiprocessing) lives in the *common* arena, which a program shares with the
/// processes it starts, and with nobody else. To share something with an unrelated program, one that connected through a
/// Listener, say, make an arena for it and use `new_in`. What is made there can be sent to anybody over a connection that
/// carries descriptors: the first handle brings the arena along. A handle into the common arena is refused there.
///
/// ```
/// use allcores::multiprocessing::{Event, Lock};
/// use allcores::shm::Arena;
///
/// let arena = Arena::new()?;
/// let total = Lock::new_in(&arena, 0u64)?;
/// let done = Event::new_in(&arena)?;
/// *total.acquire().unwrap() += 1;
/// done.set();
/// # Ok::<(), allcores::shm::ShmError>(())
/// ```
///
/// # Trust
/// Those who have an arena mapped trust each other as the threads of one program do: each can read and write all of it,
/// hold its locks for as long as it likes, and by writing nonsense over its words make the others fail in every way,
/// undefined behaviour included. That holds for both sides, for the program that made the arena and for one that receives
/// a handle into it. So give strangers a separate arena with what they need in it, and receive handles (that is, have them
/// in the type of a connection's messages) only from programs that you would let run inside your own. Where trust goes no
/// further than that, share a [`SharedMemory`](crate::multiprocessing::SharedMemory), which has no words that anybody's
/// library relies on, or send messages.
///
/// # Limits
/// A process can have 15 arenas mapped, the common one included, and never unmaps one: the kernel's list of what to tell of
/// its death runs through them. The memory of an arena is given back when the last process that has mapped it ends; what is
/// freed inside is used again, and pieces of 64 KiB and more go back to the system at once.
///
/// Clones name the same arena. It can be sent in messages like the handles into it; dropping it changes nothing for them.
#[derive(Clone)]
pub struct Arena(&'static arena::Arena);

impl Arena {
    /// A new, empty arena, which nobody but this process knows of.
    ///
    /// # Errors
    /// [`ShmError::TooManyArenas`] if this process has 15 already; otherwise if the system has no memory or no descriptor
    /// left.
    pub fn new() -> Result<Arena, ShmError> {
        arena::create().map(Arena)
    }

    /// Whether two handles name the same arena.
    pub fn same(&self, other: &Arena) -> bool {
        std::ptr::eq(self.0, other.0)
    }

    pub(crate) fn inner(&self) -> &'static arena::Arena {
        self.0
    }

    pub(crate) fn from_inner(arena: &'static arena::Arena) -> Arena {
        Arena(arena)
    }
}

impl fmt::Debug for Arena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = u128::from_be_bytes(self.0.header().id);
        write!(f, "Arena({id:032x})")
    }
}
