//! Which types may lie in memory that other processes write.

use zerocopy::{FromBytes, IntoBytes};

/// A type that means the same in every process and for which every pattern of bytes is a valid value, since a holder may
/// be killed in the middle of a write: numbers, arrays of them, and structs that derive zerocopy's `FromBytes` and
/// `IntoBytes`. Implemented for all such types; never for pointers, references, `bool`, `char` or anything with a `Drop`.
///
/// ```
/// fn may_be_shared<T: allcores::shm::Shareable>() {}
/// may_be_shared::<u64>();
/// may_be_shared::<[f32; 16]>();
/// ```
/// ```compile_fail,E0277
/// # fn may_be_shared<T: allcores::shm::Shareable>() {}
/// may_be_shared::<String>(); // owns memory of one process
/// ```
/// ```compile_fail,E0277
/// # fn may_be_shared<T: allcores::shm::Shareable>() {}
/// may_be_shared::<bool>(); // only two of its 256 patterns are values
/// ```
/// ```compile_fail,E0277
/// # fn may_be_shared<T: allcores::shm::Shareable>() {}
/// may_be_shared::<*const u8>(); // an address of one process
/// ```
pub trait Shareable: FromBytes + IntoBytes + Send + 'static {}

impl<T: FromBytes + IntoBytes + Send + 'static> Shareable for T {}
