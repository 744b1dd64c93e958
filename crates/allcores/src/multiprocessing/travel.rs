//! How the primitives travel: as the name of a cell, a pin that keeps it while the message is on its way, and, wherever the
//! channel can carry one, a descriptor of the arena.

use std::io;
use std::os::fd::AsFd;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use super::queue::{Core, QueueBody};
use super::transfer::{self, Parcel, TransferError};
use super::{
    Array, Barrier, BoundedSemaphore, Condition, Event, Lock, OwnedSemaphore, Queue, RLock,
    RawArray, RawValue, Semaphore, Value,
};
use crate::shm::cells::Kind;
use crate::shm::content::Content;
use crate::shm::handle::{Handle, Pinned, Wire};
use crate::shm::{Arena, Shareable, ShmError, arena};

/// A pin that is undone if the message is lost, and otherwise by whoever opens the handle.
struct OnItsWay(Pinned);

impl Parcel for OnItsWay {
    fn delivered(self: Box<Self>) {}

    fn lost(self: Box<Self>) {
        self.0.undo();
    }

    fn pin(&self) -> Option<[u8; 8]> {
        Some(self.0.pin().to_bytes())
    }
}

/// Writes a handle into a message.
pub(crate) fn pack<B, S: Serializer>(
    handle: &Handle<B>,
    kind: Kind,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    transfer::admits_handles().map_err(ser::Error::custom)?;
    let arena = handle.arena();
    if transfer::to_stranger() && arena::is_common(arena) {
        let refused = transfer::fail_by(TransferError::CommonArena);
        return Err(ser::Error::custom(refused));
    }
    // First, since outside a message nothing may be pinned.
    let descriptor = if transfer::in_queue_of(arena.header().id) {
        // Whoever gets the message has the queue, and so the arena.
        None
    } else if transfer::handed_over_by_face(arena.scope().index() as u8)
        || transfer::in_ticket() && arena::is_common(arena)
    {
        None
    } else if transfer::carries_descriptors() || !arena::is_common(arena) || transfer::is_in_queue()
    {
        let index = transfer::attach_shared(arena.scope().index() as u64, arena.as_fd());
        Some(index.map_err(ser::Error::custom)?)
    } else {
        // Over a kernel pipe, between relatives: they have the common arena.
        None
    };
    let (wire, pinned) = handle
        .pack(kind)
        .map_err(<S::Error as ser::Error>::custom)?;
    transfer::accompany(Box::new(OnItsWay(pinned))).map_err(ser::Error::custom)?;
    (wire, descriptor).serialize(serializer)
}

/// A handle on a piece of memory as it stands in a message, not opened yet.
#[derive(Deserialize)]
pub(crate) struct Named(pub(crate) Wire, Option<u32>);

impl Named {
    /// The arena that it lies in.
    pub(crate) fn arena(&self) -> Result<&'static arena::Arena, ShmError> {
        find(self.0.arena_id(), self.1)
    }
}

/// The arena that a message names, mapped from the descriptor that came along if need be.
fn find(id: [u8; 16], descriptor: Option<u32>) -> Result<&'static arena::Arena, ShmError> {
    let arena = match (arena::by_id(id, None), descriptor) {
        (Err(ShmError::NotAnArena { .. }), Some(index)) => {
            let copy = transfer::lend(index, |arena| arena.try_clone_to_owned())
                .map_err(|error| ShmError::Os(io::Error::other(error)))?;
            arena::by_id(id, Some(copy?))
        }
        (known, _) => known,
    }?;
    if transfer::from_stranger() && arena::is_common(arena) {
        return Err(ShmError::NotAnArena {
            reason: "an unrelated program names the arena that this program shares with its children",
        });
    }
    Ok(arena)
}

fn unpack<'de, B, D: Deserializer<'de>>(
    deserializer: D,
    kind: Kind,
    content: Content,
    fits: impl FnOnce(u32) -> bool,
    look: impl FnOnce(&B) -> Result<(), ShmError>,
) -> Result<Handle<B>, D::Error> {
    transfer::admits_handles().map_err(de::Error::custom)?;
    let named = Named::deserialize(deserializer)?;
    let arena = named.arena();
    let handle = arena.and_then(|arena| named.0.open(arena, kind, content, fits, look));
    handle.map_err(|error| de::Error::custom(transfer::fail(error)))
}

impl Serialize for Arena {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let arena = self.inner();
        let index = transfer::attach_shared(arena.scope().index() as u64, arena.as_fd())
            .map_err(ser::Error::custom)?;
        (arena.header().id, index).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Arena {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Arena, D::Error> {
        let (id, index) = <([u8; 16], u32)>::deserialize(deserializer)?;
        find(id, Some(index))
            .map(Arena::from_inner)
            .map_err(|error| de::Error::custom(transfer::fail(error)))
    }
}

macro_rules! travels {
    ($type:ident $(<$param:ident>)?, $kind:expr, $content:expr, $body:ty, $fits:expr) => {
        impl $(<$param: Shareable>)? Serialize for $type $(<$param>)? {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                pack(self.handle(), $kind, serializer)
            }
        }

        impl<'de $(, $param: Shareable)?> Deserialize<'de> for $type $(<$param>)? {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let fits: fn(u32) -> bool = $fits;
                unpack::<$body, D>(deserializer, $kind, $content, fits, |_| Ok(()))
                    .map($type::from_handle)
            }
        }
    };
}

/// As above, for what must be looked at once more when it is opened.
macro_rules! travels_looked_at {
    ($type:ident, $kind:expr, $body:ty, $fits:expr) => {
        impl<T: Shareable> Serialize for $type<T> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                pack(self.handle(), $kind, serializer)
            }
        }

        impl<'de, T: Shareable> Deserialize<'de> for $type<T> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let content = Content::of::<T>();
                let handle = unpack::<$body, D>(deserializer, $kind, content, $fits, |body| {
                    body.holds(size_of::<T>())
                })?;
                $type::from_handle(handle).map_err(|error| de::Error::custom(transfer::fail(error)))
            }
        }
    };
}

fn exactly<B>(bytes: u32) -> bool {
    bytes as usize == size_of::<B>()
}

travels!(
    Lock<T>,
    Kind::Lock,
    Content::of::<T>(),
    super::lock::Body<T>,
    exactly::<super::lock::Body<T>>
);
travels!(
    RLock<T>,
    Kind::RLock,
    Content::of::<T>(),
    super::rlock::Body<T>,
    exactly::<super::rlock::Body<T>>
);
travels!(
    Semaphore,
    Kind::Semaphore,
    Content::UNNAMED,
    crate::sync::Semaphore,
    exactly::<crate::sync::Semaphore>
);
travels!(
    BoundedSemaphore,
    Kind::Semaphore,
    Content::UNNAMED,
    crate::sync::Semaphore,
    exactly::<crate::sync::Semaphore>
);
travels!(
    Event,
    Kind::Event,
    Content::UNNAMED,
    crate::sync::Event,
    exactly::<crate::sync::Event>
);
travels!(
    Condition,
    Kind::Condition,
    Content::UNNAMED,
    super::condition::Body,
    exactly::<super::condition::Body>
);
travels!(
    Barrier,
    Kind::Barrier,
    Content::UNNAMED,
    crate::sync::Barrier,
    |bytes| bytes as usize > size_of::<crate::sync::Barrier>()
);
travels!(
    OwnedSemaphore,
    Kind::OwnedSemaphore,
    Content::UNNAMED,
    crate::sync::owned::OwnedSemaphore,
    |bytes| {
        bytes as usize
            == size_of::<crate::sync::owned::OwnedSemaphore>() + super::owned_semaphore::TAIL
    }
);
travels!(
    Value<T>,
    Kind::Value,
    Content::of::<T>(),
    super::lock::Body<T>,
    exactly::<super::lock::Body<T>>
);
travels!(
    RawValue<T>,
    Kind::RawValue,
    Content::of::<T>(),
    super::value::Raw<T>,
    exactly::<super::value::Raw<T>>
);
travels_looked_at!(Array, Kind::Array, super::array::Body, super::array::fits);
travels_looked_at!(
    RawArray,
    Kind::RawArray,
    super::array::Body,
    super::array::fits
);

impl<T> Serialize for Queue<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        pack(self.core().handle(), Kind::Queue, serializer)
    }
}

impl<'de, T> Deserialize<'de> for Queue<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        unpack_queue(deserializer, |_| Ok(()))
    }
}

/// A queue from a message, if `look` will have it.
pub(super) fn unpack_queue<'de, T, D: Deserializer<'de>>(
    deserializer: D,
    look: impl FnOnce(&QueueBody) -> Result<(), ShmError>,
) -> Result<Queue<T>, D::Error> {
    let handle = unpack(
        deserializer,
        Kind::Queue,
        Content::UNNAMED,
        Core::fits,
        look,
    )?;
    Ok(Queue::from_core(Core::of(handle)))
}
