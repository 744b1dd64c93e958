//! What comes in with a message.

use std::os::fd::OwnedFd;

use super::codecs::{admit, bar};
use super::error::TransferError;
use crate::multiprocessing::connection::Codec;

/// What came with a message.
#[derive(Default)]
pub(crate) struct Incoming {
    pub(crate) descriptors: Vec<Option<OwnedFd>>,
    pub(crate) cut_short: bool,
    /// The name of a codec that carries no handles.
    pub(super) barred_by: Option<&'static str>,
    /// Whoever sent the message may be an unrelated program.
    pub(super) foreign: bool,
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

    pub(super) fn place(&mut self, index: u32) -> Result<&mut Option<OwnedFd>, TransferError> {
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
