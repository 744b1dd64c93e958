//! Arrays and values whose elements are known by name only: for faces in other languages.
//!
//! Hidden from the documentation and without promise of stability, as [`face`](crate::face) is.

use std::panic::Location;

use serde::{Serialize, Serializer};

use super::connection::{RecvError, stream};
use super::transfer::{self, Incoming};
use super::travel::{self, Named};
use super::{array, lock};
use crate::shm::cells::Kind;
use crate::shm::content::Content;
use crate::shm::handle::{Found, Handle};
use crate::shm::{ShmError, arena};
use crate::sync::{self, Scope};

/// Which of the four it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PieceKind {
    /// [`Array`](super::Array).
    Array,
    /// [`RawArray`](super::RawArray).
    RawArray,
    /// [`Value`](super::Value).
    Value,
    /// [`RawValue`](super::RawValue).
    RawValue,
}

impl PieceKind {
    fn kind(self) -> Kind {
        match self {
            PieceKind::Array => Kind::Array,
            PieceKind::RawArray => Kind::RawArray,
            PieceKind::Value => Kind::Value,
            PieceKind::RawValue => Kind::RawValue,
        }
    }

    fn of(kind: Option<Kind>) -> Option<PieceKind> {
        Some(match kind? {
            Kind::Array => PieceKind::Array,
            Kind::RawArray => PieceKind::RawArray,
            Kind::Value => PieceKind::Value,
            Kind::RawValue => PieceKind::RawValue,
            _ => return None,
        })
    }

    /// Where the data begins.
    fn offset(self, align: usize) -> usize {
        match self {
            PieceKind::Array | PieceKind::RawArray => size_of::<array::Body>(),
            PieceKind::Value => lock::LOCK_SIZE.next_multiple_of(align),
            PieceKind::RawValue => 0,
        }
    }

    /// How large a cell is.
    fn bytes(self, element: Element) -> usize {
        let end = self.offset(element.align) + element.size;
        match self {
            PieceKind::Value => end.next_multiple_of(element.align.max(lock::LOCK_SIZE)),
            _ => end,
        }
    }
}

/// What one element is: ctypes' letter, if it has one, and how it lies in memory.
#[derive(Clone, Copy, Debug)]
pub struct Element {
    /// As for Python's `array`, and `?` and `c`.
    pub letter: Option<char>,
    /// In bytes.
    pub size: usize,
    /// In bytes; a power of two up to 64.
    pub align: usize,
}

impl Element {
    /// A byte.
    pub const BYTE: Element = Element {
        letter: Some('B'),
        size: 1,
        align: 1,
    };

    fn content(self) -> Content {
        Content::from_letter(self.letter, self.align)
    }
}

/// A handle on an array or a value, whatever it is made of.
#[derive(Clone)]
pub struct Piece {
    handle: Handle<()>,
    kind: PieceKind,
    start: *mut u8,
    size: usize,
}

// SAFETY: it is a handle like those that know their elements, and gives a pointer only.
unsafe impl Send for Piece {}
// SAFETY: as above.
unsafe impl Sync for Piece {}

impl Piece {
    /// `count` zeroed elements, or one if it is a value.
    ///
    /// # Errors
    /// As for [`Array::new`](super::Array::new).
    #[track_caller]
    pub fn new(kind: PieceKind, element: Element, count: usize) -> Result<Piece, ShmError> {
        let (arena, location) = (arena::common()?, Location::caller());
        let handle = match kind {
            PieceKind::Array | PieceKind::RawArray => {
                let (kind, size) = (kind.kind(), element.size);
                let made = array::make(arena, kind, size, count, location, |_| {})?;
                // SAFETY: nothing lies at any place.
                unsafe { made.cast() }
            }
            // All zeros: a free lock, and the least that any element is made of.
            PieceKind::Value | PieceKind::RawValue => {
                let bytes = kind.bytes(element);
                Handle::create_in(arena, kind.kind(), bytes, location, |_: *mut ()| {})?
            }
        };
        Ok(Piece::of(handle.made_of(element.content()), kind))
    }

    fn of(handle: Handle<()>, kind: PieceKind) -> Piece {
        let bytes = handle.bytes();
        let offset = kind.offset(handle.content().align()).min(bytes);
        Piece {
            // SAFETY: inside the cell, or its end.
            start: unsafe { handle.pointer().cast_mut().cast::<u8>().add(offset) },
            size: bytes - offset,
            kind,
            handle,
        }
    }

    /// Opens what a relative has packed: of that kind, if that is given, and of those elements, without which it must be
    /// numbers then.
    ///
    /// # Errors
    /// If it is something else, or gone.
    pub fn open(
        bytes: &[u8],
        kind: Option<PieceKind>,
        element: Option<Element>,
    ) -> Result<Piece, RecvError> {
        let named: Named = stream::decode(bytes, Incoming::default())?;
        let mut opened = PieceKind::RawArray;
        let handle = named.arena().and_then(|arena| {
            named.0.open_as(arena, |found, body| {
                opened = judge(found, kind, element)?;
                match (element, opened) {
                    (Some(element), PieceKind::Array | PieceKind::RawArray) => {
                        // SAFETY: a cell of that kind and at least that size begins with one.
                        unsafe { body.cast::<array::Body>().as_ref() }.holds(element.size)
                    }
                    _ => Ok(()),
                }
            })
        });
        Ok(Piece::of(handle.map_err(transfer::fail)?, opened))
    }

    /// Which of the four it is.
    pub fn kind(&self) -> PieceKind {
        self.kind
    }

    /// The letter of its elements, if they have one.
    pub fn letter(&self) -> Option<char> {
        self.handle.content().letter()
    }

    /// How many elements there are, where that is known without knowing them.
    pub fn count(&self) -> Option<usize> {
        let element = self.array()?.element() as usize;
        self.size.checked_div(element)
    }

    /// Says what the bytes of a RawArray that nobody else has yet are to be taken for.
    pub fn made_of(&self, element: Element) {
        if let (PieceKind::RawArray, Some(body)) = (self.kind, self.array()) {
            body.set_element(element.size as u32);
            drop(self.handle.clone().made_of(element.content()));
        }
    }

    fn array(&self) -> Option<&array::Body> {
        match self.kind {
            PieceKind::Array | PieceKind::RawArray => {
                // SAFETY: a cell of that kind begins with one, and is kept by our handle.
                Some(unsafe { &*self.handle.pointer().cast() })
            }
            _ => None,
        }
    }

    /// Where the elements lie in this process, as long as there is a handle on them here.
    #[inline]
    pub fn as_ptr(&self) -> *mut u8 {
        self.start
    }

    /// How many bytes they are.
    #[inline]
    pub fn size(&self) -> usize {
        self.size
    }

    /// Its lock's word, if it has a lock.
    #[inline]
    pub fn words(&self) -> Option<(&sync::Lock, Scope)> {
        match self.kind {
            PieceKind::Array | PieceKind::Value => {
                // SAFETY: a cell of that kind begins with one, and is kept by our handle.
                Some((
                    unsafe { &*self.handle.pointer().cast() },
                    self.handle.scope(),
                ))
            }
            PieceKind::RawArray | PieceKind::RawValue => None,
        }
    }
}

/// Whether a cell is what is asked for; which kind of piece it is.
fn judge(
    found: &Found,
    wanted: Option<PieceKind>,
    element: Option<Element>,
) -> Result<PieceKind, ShmError> {
    let name = wanted.map_or("Array or Value", |wanted| wanted.kind().name());
    let kind = PieceKind::of(found.kind).filter(|kind| wanted.is_none_or(|wanted| wanted == *kind));
    let Some(kind) = kind else {
        return Err(found.is_not(name, element.map_or(0, |element| element.size as u32)));
    };
    if let Some(element) = element
        && !found.content.fits(element.content())
    {
        return Err(ShmError::WrongContent {
            kind: name,
            found: found.content.name().unwrap_or("something else"),
            wanted: element.content().name().unwrap_or("something else"),
        });
    }
    if wanted.is_some() && element.is_none() && found.content.name().is_none() {
        return Err(ShmError::WrongContent {
            kind: name,
            found: "something else",
            wanted: "numbers",
        });
    }
    let least = match (kind, element) {
        (PieceKind::Value | PieceKind::RawValue, Some(element)) => kind.bytes(element),
        _ => kind.offset(found.content.align()),
    };
    let exactly = element.is_some() && !matches!(kind, PieceKind::Array | PieceKind::RawArray);
    let bytes = found.bytes as usize;
    if bytes < least || exactly && bytes != least {
        return Err(found.is_not(name, least as u32));
    }
    Ok(kind)
}

impl Serialize for Piece {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        travel::pack(&self.handle, self.kind.kind(), serializer)
    }
}
