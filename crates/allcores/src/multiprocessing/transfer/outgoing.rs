//! What goes out with a message, and what it travels on.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::MOST_DESCRIPTORS;
use super::codecs::{admit, bar};
use super::error::TransferError;
use super::parcel::Parcels;
use crate::multiprocessing::connection::Codec;

/// What a value hands over while it is serialised.
#[derive(Default)]
pub(crate) struct Outgoing {
    pub(crate) descriptors: Vec<OwnedFd>,
    /// The indices of descriptors that many handles share, by their keys.
    pub(super) shared: Vec<(u64, u32)>,
    pub(super) parcels: Parcels,
    pub(super) room: usize,
    pub(super) carrier: Carrier,
    /// The places of the arenas that a face has to hand over.
    pub(super) arenas: Vec<u8>,
    /// The name of a codec that carries no handles.
    pub(super) barred_by: Option<&'static str>,
    /// Whoever receives the message may be an unrelated program.
    pub(super) foreign: bool,
}

/// What a message travels on, as far as descriptors go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Carrier {
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

    pub(super) fn has_room(&self) -> Result<(), TransferError> {
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

    pub(super) fn push(&mut self, descriptor: OwnedFd) -> u32 {
        self.descriptors.push(descriptor);
        self.descriptors.len() as u32 - 1
    }
}
