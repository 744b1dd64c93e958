//! The work itself, the same in every way: read a piece of a file, count its words.

use super::corpus::Work;
use super::error::DemoError;
use super::totals::{Totals, WordMap};
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Counts pieces. Each worker has one.
#[derive(Default)]
pub(crate) struct Counter {
    table: WordMap,
    files: u64,
    bytes: u64,
    words: u64,
    /// Kept from piece to piece, as they are: bytes of the file, and the word that is being folded.
    buffer: Vec<u8>,
    folded: String,
}

impl Counter {
    /// Reads a piece of the work and counts its words; tells how many bytes it had. The pieces are numbered from 0 on
    /// through all passes.
    ///
    /// # Errors
    /// If the file is no longer as it was when the work list was made.
    pub(crate) fn count(&mut self, work: &Work, number: u64) -> Result<u64, DemoError> {
        let piece = work.piece(number);
        let path = work.path(piece);
        let changed = |why: String| DemoError::Changed {
            path: path.to_owned(),
            why,
        };
        self.buffer.resize(piece.len as usize, 0);
        File::open(path)
            .and_then(|file| file.read_exact_at(&mut self.buffer, piece.offset))
            .map_err(|error| changed(error.to_string()))?;
        let text = std::str::from_utf8(&self.buffer).map_err(|error| changed(error.to_string()))?;

        let table = &mut self.table;
        self.words += for_each_word(text, &mut self.folded, |word| {
            // Looked up by the slice that lies there; only a new word is copied.
            match table.get_mut(word) {
                Some(count) => *count += 1,
                None => drop(table.insert(word.into(), 1)),
            }
        });
        self.bytes += u64::from(piece.len);
        self.files += u64::from(piece.offset == 0);
        Ok(u64::from(piece.len))
    }

    /// What has been counted.
    pub(crate) fn finish(self, passes: u64) -> Totals {
        Totals {
            tables: vec![self.table],
            passes,
            files: self.files,
            bytes: self.bytes,
            words: self.words,
        }
    }
}

/// What a byte can be in a word.
#[derive(Clone, Copy, PartialEq)]
enum Class {
    None,
    Lower,
    Upper,
    /// Part of a character that is not ASCII.
    Wide,
}

const CLASSES: [Class; 256] = {
    let mut classes = [Class::None; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            b'a'..=b'z' => Class::Lower,
            b'A'..=b'Z' => Class::Upper,
            0x80.. => Class::Wide,
            _ => Class::None,
        };
        byte += 1;
    }
    classes
};

/// Calls `found` with each word of `text` in lower case, and tells how many there were. A word is a longest run of
/// letters (Unicode's Alphabetic); `folded` is room to fold them in.
fn for_each_word(text: &str, folded: &mut String, mut found: impl FnMut(&str)) -> u64 {
    let bytes = text.as_bytes();
    let class = |at: usize| {
        bytes
            .get(at)
            .map_or(Class::None, |b| CLASSES[usize::from(*b)])
    };
    let (mut at, mut words) = (0, 0);
    while at < bytes.len() {
        // Most text is ASCII, and most of it is in lower case: such a word is looked up where it lies.
        let start = at;
        while class(at) == Class::Lower {
            at += 1;
        }
        let lower_until = at;
        while matches!(class(at), Class::Lower | Class::Upper) {
            at += 1;
        }
        if class(at) == Class::Wide {
            folded.clear();
            at = start + fold_word(&text[start..], folded);
            if !folded.is_empty() {
                found(folded);
                words += 1;
            }
        } else if at > start {
            if at == lower_until {
                found(&text[start..at]);
            } else {
                folded.clear();
                folded.push_str(&text[start..at]);
                folded.make_ascii_lowercase();
                found(folded);
            }
            words += 1;
        } else {
            at += 1;
        }
    }
    words
}

/// Appends the word that `text` begins with in lower case; tells how long it is, or the length of the character that
/// begins no word.
fn fold_word(text: &str, folded: &mut String) -> usize {
    for (at, character) in text.char_indices() {
        if !character.is_alphabetic() {
            return if at == 0 { character.len_utf8() } else { at };
        }
        folded.extend(character.to_lowercase());
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        let mut words = Vec::new();
        let number = for_each_word(text, &mut String::new(), |word| words.push(word.to_owned()));
        assert_eq!(number, words.len() as u64);
        words
    }

    #[test]
    fn words_are_runs_of_letters_in_lower_case() {
        assert_eq!(words(""), [""; 0]);
        assert_eq!(words("- 12 …—\u{1F600}"), [""; 0]);
        assert_eq!(words("Don't stop, x2y"), ["don", "t", "stop", "x", "y"]);
        assert_eq!(words("Grüße ÉCOLE naïve"), ["grüße", "école", "naïve"]);
        assert_eq!(words("aé éa —b ABC—DéF"), ["aé", "éa", "b", "abc", "déf"]);
        assert_eq!(words("Москва東京 Ω"), ["москва東京", "ω"]);
        assert_eq!(words("end"), ["end"]);
        assert_eq!(words("ende…"), ["ende"]);
    }

    /// The fast path and the plain definition, on every mixture of the kinds of characters there are.
    #[test]
    fn agrees_with_the_definition() {
        let kinds = ["a", "Z", " ", "é", "Ä", "—", "1"];
        for number in 0..kinds.len().pow(5) {
            let text: String = (0..5)
                .map(|place| kinds[number / kinds.len().pow(place) % kinds.len()])
                .collect();
            let plain: Vec<String> = text
                .split(|c: char| !c.is_alphabetic())
                .filter(|word| !word.is_empty())
                .map(|word| word.chars().flat_map(char::to_lowercase).collect())
                .collect();
            assert_eq!(words(&text), plain, "{text:?}");
        }
    }
}
