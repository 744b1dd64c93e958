//! Whether the bytes of a message may name handles.

use super::error::TransferError;
use crate::multiprocessing::connection::Codec;

/// The name of a codec that carries no handles.
pub(super) fn bar<C: Codec>() -> Option<&'static str> {
    (!C::CARRIES_HANDLES).then_some(C::NAME)
}

pub(super) fn admit(barred_by: Option<&'static str>) -> Result<(), TransferError> {
    match barred_by {
        None => Ok(()),
        Some(codec) => Err(TransferError::NotInCodec { codec }),
    }
}
