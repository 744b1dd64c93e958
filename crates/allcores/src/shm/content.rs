//! What data in a cell is, as far as that has a name in every language: numbers.

use std::any::TypeId;

/// The data of a cell, by the letter that Python's `array` and `struct` have for it; of longs and long longs, which are one
/// here, the former's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    letter: u8,
    /// What it is aligned to, as a power of two.
    align: u8,
}

impl Content {
    /// Something that has no name here, such as a struct. Whoever opens it must know what it is.
    pub(crate) const UNNAMED: Content = Content {
        letter: 0,
        align: 0,
    };

    /// What a `T` is.
    #[inline]
    pub(crate) fn of<T: 'static>() -> Content {
        let wanted = TypeId::of::<T>();
        let letters = [
            (TypeId::of::<i8>(), b'b'),
            (TypeId::of::<u8>(), b'B'),
            (TypeId::of::<i16>(), b'h'),
            (TypeId::of::<u16>(), b'H'),
            (TypeId::of::<i32>(), b'i'),
            (TypeId::of::<u32>(), b'I'),
            (TypeId::of::<i64>(), b'l'),
            (TypeId::of::<isize>(), b'l'),
            (TypeId::of::<u64>(), b'L'),
            (TypeId::of::<usize>(), b'L'),
            (TypeId::of::<f32>(), b'f'),
            (TypeId::of::<f64>(), b'd'),
        ];
        let found = letters.into_iter().find(|(known, _)| *known == wanted);
        let letter = found.map_or(0, |(_, letter)| letter);
        Content::aligned(letter, align_of::<T>())
    }

    fn aligned(letter: u8, align: usize) -> Content {
        Content {
            letter,
            align: align.trailing_zeros() as u8,
        }
    }

    /// As a cell's header has it.
    pub(crate) fn number(self) -> u16 {
        u16::from_le_bytes([self.letter, self.align])
    }

    /// What a header says.
    pub(crate) fn from_number(number: u16) -> Content {
        let [letter, align] = number.to_le_bytes();
        Content { letter, align }
    }

    /// What Python's ctypes have a letter for, or not.
    pub(crate) fn from_letter(letter: Option<char>, align: usize) -> Content {
        let letter = match letter {
            Some('q') => b'l',
            Some('Q') => b'L',
            Some(letter) if letter.is_ascii() => letter as u8,
            _ => 0,
        };
        let content = Content::aligned(letter, align);
        match content.name() {
            Some(_) => content,
            None => Content::aligned(0, align),
        }
    }

    /// The letter, if there is one.
    pub(crate) fn letter(self) -> Option<char> {
        self.name().map(|_| self.letter.into())
    }

    /// What the data is aligned to.
    pub(crate) fn align(self) -> usize {
        1 << self.align.min(6)
    }

    /// For people, and those who write Rust.
    pub(crate) fn name(self) -> Option<&'static str> {
        Some(match self.letter {
            b'b' => "i8",
            // Characters and truths are bytes.
            b'B' | b'c' | b'?' => "u8",
            b'h' => "i16",
            b'H' => "u16",
            b'i' => "i32",
            b'I' | b'u' => "u32",
            b'l' => "i64",
            b'L' => "u64",
            b'f' => "f32",
            b'd' => "f64",
            _ => return None,
        })
    }

    /// Whether one may be opened as the other, as far as is known.
    pub(crate) fn fits(self, other: Content) -> bool {
        match (self.name(), other.name()) {
            (Some(one), Some(other)) => one == other,
            _ => true,
        }
    }
}
