//! What a value may ask of the message that it is going into, or comes out of.

use super::codecs::admit;
use super::context::{Context, OPEN, Way};
use super::error::TransferError;
use super::outgoing::{Carrier, Outgoing};

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
