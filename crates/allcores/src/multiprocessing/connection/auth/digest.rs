//! The five digests that a challenge or an answer may name.

use hmac::digest::common::BlockSizeUser;
use hmac::{KeyInit, Mac, SimpleHmac};
use md5::Md5;
use sha2::{Sha256, Sha384};
use sha3::{Sha3_256, Sha3_384};

/// A hash function, as CPython names it on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "their names say it all")]
pub enum Digest {
    Md5,
    Sha256,
    Sha384,
    Sha3_256,
    Sha3_384,
}

impl Digest {
    /// All of them.
    pub const ALL: [Digest; 5] = [
        Digest::Md5,
        Digest::Sha256,
        Digest::Sha384,
        Digest::Sha3_256,
        Digest::Sha3_384,
    ];
    pub(super) const NAMES: &str = "md5, sha256, sha384, sha3_256 and sha3_384";

    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Digest::Md5 => "md5",
            Digest::Sha256 => "sha256",
            Digest::Sha384 => "sha384",
            Digest::Sha3_256 => "sha3_256",
            Digest::Sha3_384 => "sha3_384",
        }
    }

    /// The digest that `{name}` at the front of `message` names, and what follows it.
    pub(super) fn named_by(message: &[u8]) -> Option<(Digest, &[u8])> {
        let named = message.strip_prefix(b"{")?;
        Digest::ALL.into_iter().find_map(|digest| {
            let rest = named.strip_prefix(digest.name().as_bytes())?;
            Some((digest, rest.strip_prefix(b"}")?))
        })
    }

    pub(super) fn mac(self, key: &[u8], message: &[u8]) -> Vec<u8> {
        match self {
            Digest::Md5 => fed::<Md5>(key, message).finalize().into_bytes().to_vec(),
            Digest::Sha256 => fed::<Sha256>(key, message).finalize().into_bytes().to_vec(),
            Digest::Sha384 => fed::<Sha384>(key, message).finalize().into_bytes().to_vec(),
            Digest::Sha3_256 => fed::<Sha3_256>(key, message)
                .finalize()
                .into_bytes()
                .to_vec(),
            Digest::Sha3_384 => fed::<Sha3_384>(key, message)
                .finalize()
                .into_bytes()
                .to_vec(),
        }
    }

    /// Compares all of it, however early it differs.
    pub(super) fn verifies(self, key: &[u8], message: &[u8], mac: &[u8]) -> bool {
        match self {
            Digest::Md5 => fed::<Md5>(key, message).verify_slice(mac),
            Digest::Sha256 => fed::<Sha256>(key, message).verify_slice(mac),
            Digest::Sha384 => fed::<Sha384>(key, message).verify_slice(mac),
            Digest::Sha3_256 => fed::<Sha3_256>(key, message).verify_slice(mac),
            Digest::Sha3_384 => fed::<Sha3_384>(key, message).verify_slice(mac),
        }
        .is_ok()
    }
}

/// HMAC that has taken the message in.
fn fed<D: sha2::Digest + BlockSizeUser>(key: &[u8], message: &[u8]) -> SimpleHmac<D> {
    let keyed = <SimpleHmac<D> as KeyInit>::new_from_slice(key);
    keyed
        .expect("HMAC takes keys of any length")
        .chain_update(message)
}
