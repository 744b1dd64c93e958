//! Word counts as bytes, for the way from one process to another: for each word its count, its length, and the word.

use super::totals::{Part, WordMap};

/// Bytes that are not what [`encode`] makes.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("a message between workers is damaged")]
pub(crate) struct Damaged;

/// The bytes of these counts.
pub(crate) fn encode<'a>(counts: impl IntoIterator<Item = (&'a str, u64)>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (word, count) in counts {
        put_number(&mut bytes, count);
        put_number(&mut bytes, word.len() as u64);
        bytes.extend_from_slice(word.as_bytes());
    }
    bytes
}

/// The bytes of a part.
pub(crate) fn encode_part(part: &Part) -> Vec<u8> {
    encode(part.iter().map(|(word, count)| (&**word, *count)))
}

/// Adds encoded counts to a table.
///
/// # Errors
/// If the bytes are damaged; the table may have been added to by then.
pub(crate) fn add_to(table: &mut WordMap, mut bytes: &[u8]) -> Result<(), Damaged> {
    while !bytes.is_empty() {
        let count = take_number(&mut bytes)?;
        let length = usize::try_from(take_number(&mut bytes)?).map_err(|_| Damaged)?;
        let (word, rest) = bytes.split_at_checked(length).ok_or(Damaged)?;
        let word = std::str::from_utf8(word).map_err(|_| Damaged)?;
        match table.get_mut(word) {
            Some(sum) => *sum += count,
            None => drop(table.insert(word.into(), count)),
        }
        bytes = rest;
    }
    Ok(())
}

/// Seven bits a byte, the lowest first; the top bit says that more follow.
fn put_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn take_number(bytes: &mut &[u8]) -> Result<u64, Damaged> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().ok_or(Damaged)?;
        *bytes = rest;
        number |= u64::from(byte & 0x7F) << shift;
        if *byte < 0x80 {
            return Ok(number);
        }
    }
    Err(Damaged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_comes_back_and_adds_up() {
        let counts = [
            ("a", 1),
            ("größe", 127),
            ("b", 128),
            ("c", u64::MAX - 1),
            ("", 3),
        ];
        let mut table = WordMap::new();
        add_to(&mut table, &encode(counts)).unwrap();
        assert_eq!(table.len(), counts.len());
        for (word, count) in counts {
            assert_eq!(table[word], count);
        }
        add_to(&mut table, &encode([("a", 2), ("z", 9)])).unwrap();
        assert_eq!((table["a"], table["z"]), (3, 9));
    }

    #[test]
    fn every_cut_inside_a_word_is_noticed() {
        let bytes = encode([("größe", 300)]);
        for length in 1..bytes.len() {
            assert_eq!(add_to(&mut WordMap::new(), &bytes[..length]), Err(Damaged));
        }
        for damaged in [&[1, 200, 1][..], &[1, 1, 0xFF], &[0xFF; 12]] {
            assert_eq!(add_to(&mut WordMap::new(), damaged), Err(Damaged));
        }
    }
}
