//! What each fuzz target does with its bytes. Whatever they are, `run` returns; that it does, and that what it finds is as
//! it should be, is the test.
//!
//! Used twice: by libFuzzer (`fuzz_targets/`), and by a test of the library that replays the corpus (so no path here begins at
//! the crate).

pub mod any;
pub mod arena;
pub mod auth;
pub mod codec;
pub mod frame;
pub mod handles;

/// What a target does with bytes.
pub type Run = fn(&[u8]);

/// The targets by name.
pub const TARGETS: [(&str, Run); 5] = [
    ("frame", frame::run),
    ("auth", auth::run),
    ("codec", codec::run),
    ("handles", handles::run),
    ("arena", arena::run),
];

/// Takes bytes off the front, zeros once there are none.
pub(crate) struct Bytes<'a>(pub(crate) &'a [u8]);

impl<'a> Bytes<'a> {
    pub(crate) fn u8(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    pub(crate) fn u16(&mut self) -> u16 {
        u16::from_le_bytes([self.u8(), self.u8()])
    }

    pub(crate) fn u32(&mut self) -> u32 {
        u32::from_le_bytes([self.u8(), self.u8(), self.u8(), self.u8()])
    }

    /// As many as there are, `count` at most.
    pub(crate) fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
