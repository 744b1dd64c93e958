//! What a message may ask for. A pickle is a program, and a short one can make much.

/// How deeply values may be nested: each level is a few frames of this thread's stack in the code that serde derives.
pub(super) const MOST_DEPTH: u8 = 128;

/// The widest integer of Rust.
pub(super) const MOST_INT_BITS: u32 = 128;

/// What a value weighs besides its bytes: about what it takes in memory.
pub(super) const WEIGHT: u64 = 32;

/// What every message may unfold to, in bytes: names of dictionaries come again and again.
const ALWAYS: u64 = 16 << 20;
/// How much more for each byte of the message. Above [`WEIGHT`], so that what is not shared always passes.
const FOR_EACH_BYTE: u64 = 64;

/// The weight that a message of so many bytes may unfold to.
pub(super) const fn most_weight(bytes: usize) -> u64 {
    ALWAYS + FOR_EACH_BYTE * bytes as u64
}
