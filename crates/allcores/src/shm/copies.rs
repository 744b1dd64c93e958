//! Copies to and from memory that other processes write at the same time.
//!
//! What is copied may be a mixture of two values if somebody writes meanwhile, but never anything worse: [`Shareable`] types
//! have no invalid patterns. Numbers of 1, 2, 4 and 8 bytes at their natural places are copied whole.

use std::sync::atomic::{
    AtomicI8, AtomicI16, AtomicI32, AtomicI64, AtomicU8, AtomicU16, AtomicU32, AtomicU64,
    Ordering::*,
};

use zerocopy::FromBytes;

use super::Shareable;

/// Numbers that have an atomic twin: `u64` has `AtomicU64`, and so on.
pub trait Atom: Shareable + Copy + sealed::Sealed {
    /// The twin, which lies in memory as the number does.
    type Atomic: Sync + 'static;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! atoms {
    ($($number:ty => $atomic:ty),* $(,)?) => {$(
        impl sealed::Sealed for $number {}
        impl Atom for $number {
            type Atomic = $atomic;
        }
    )*};
}

atoms!(
    u8 => AtomicU8, u16 => AtomicU16, u32 => AtomicU32, u64 => AtomicU64,
    i8 => AtomicI8, i16 => AtomicI16, i32 => AtomicI32, i64 => AtomicI64,
);

/// Whether a `T` is as large and as well aligned as the number `N`.
const fn like<T, N>() -> bool {
    size_of::<T>() == size_of::<N>() && align_of::<T>() >= align_of::<N>()
}

/// A copy of what lies at `place`.
///
/// # Safety
/// `place` must be aligned and readable for as long as the call takes; others may write it.
#[inline]
pub(crate) unsafe fn load<T: Shareable>(place: *const T) -> T {
    let mut value = T::new_zeroed();
    macro_rules! whole {
        ($number:ty, $atomic:ty) => {
            if const { like::<T, $number>() } {
                // SAFETY: as large and as aligned as the number; the caller's word for the rest.
                let number = unsafe { <$atomic>::from_ptr(place.cast_mut().cast()) }.load(Relaxed);
                value.as_mut_bytes().copy_from_slice(&number.to_ne_bytes());
                return value;
            }
        };
    }
    whole!(u64, AtomicU64);
    whole!(u32, AtomicU32);
    whole!(u16, AtomicU16);
    // SAFETY: the caller's word.
    unsafe { copy_out(place.cast(), value.as_mut_bytes()) };
    value
}

/// Writes `value` to `place`.
///
/// # Safety
/// `place` must be aligned and writable for as long as the call takes; others may read and write it.
#[inline]
pub(crate) unsafe fn store<T: Shareable>(place: *mut T, mut value: T) {
    macro_rules! whole {
        ($number:ty, $atomic:ty) => {
            if const { like::<T, $number>() } {
                let number = <$number>::read_from_bytes(value.as_mut_bytes());
                let number = number.expect("as many bytes as the number has");
                // SAFETY: as large and as aligned as the number; the caller's word for the rest.
                unsafe { <$atomic>::from_ptr(place.cast()) }.store(number, Relaxed);
                return;
            }
        };
    }
    whole!(u64, AtomicU64);
    whole!(u32, AtomicU32);
    whole!(u16, AtomicU16);
    // SAFETY: the caller's word.
    unsafe { copy_in(value.as_mut_bytes(), place.cast()) };
}

const WORD: usize = size_of::<u64>();

/// How many bytes come before the first whole word at an address, and how many such words follow.
fn split(address: usize, bytes: usize) -> (usize, usize) {
    let head = (address.next_multiple_of(WORD) - address).min(bytes);
    (head, (bytes - head) / WORD)
}

/// Copies out of shared memory.
///
/// # Safety
/// As many bytes as `to` has must be readable at `from`; others may write them.
pub(crate) unsafe fn copy_out(from: *const u8, to: &mut [u8]) {
    let from = from.cast_mut();
    let (head, words) = split(from.addr(), to.len());
    let (first, rest) = to.split_at_mut(head);
    let (middle, last) = rest.as_chunks_mut::<WORD>();
    let byte = |at| {
        // SAFETY: inside the range.
        unsafe { AtomicU8::from_ptr(from.add(at)) }.load(Relaxed)
    };
    for (at, byte_of) in first.iter_mut().enumerate() {
        *byte_of = byte(at);
    }
    for (number, word) in middle.iter_mut().enumerate() {
        // SAFETY: inside the range, and aligned: `split` began at a whole word.
        let shared = unsafe { AtomicU64::from_ptr(from.add(head + number * WORD).cast()) };
        *word = shared.load(Relaxed).to_ne_bytes();
    }
    for (at, byte_of) in last.iter_mut().enumerate() {
        *byte_of = byte(head + words * WORD + at);
    }
}

/// Copies into shared memory.
///
/// # Safety
/// As many bytes as `from` has must be writable at `to`; others may read and write them.
pub(crate) unsafe fn copy_in(from: &[u8], to: *mut u8) {
    let (head, words) = split(to.addr(), from.len());
    let (first, rest) = from.split_at(head);
    let (middle, last) = rest.as_chunks::<WORD>();
    let put = |at, byte| {
        // SAFETY: inside the range.
        unsafe { AtomicU8::from_ptr(to.add(at)) }.store(byte, Relaxed);
    };
    for (at, byte) in first.iter().enumerate() {
        put(at, *byte);
    }
    for (number, word) in middle.iter().enumerate() {
        // SAFETY: inside the range, and aligned: `split` began at a whole word.
        unsafe { AtomicU64::from_ptr(to.add(head + number * WORD).cast()) }
            .store(u64::from_ne_bytes(*word), Relaxed);
    }
    for (at, byte) in last.iter().enumerate() {
        put(head + words * WORD + at, *byte);
    }
}
