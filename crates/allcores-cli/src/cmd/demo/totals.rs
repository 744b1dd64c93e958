//! The result of a way, and how two of them are compared.

use std::collections::BTreeMap;

/// A word in lower case, and how often it was found.
pub(crate) type WordMap = hashbrown::HashMap<Box<str>, u64>;

/// So many differing words are named.
const EXAMPLES: usize = 10;

/// What a way has counted in all its passes.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    /// No word is in two of them.
    pub(crate) tables: Vec<WordMap>,
    pub(crate) passes: u64,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    pub(crate) words: u64,
}

impl Totals {
    /// The number of different words.
    pub(crate) fn distinct(&self) -> u64 {
        self.tables.iter().map(|table| table.len() as u64).sum()
    }

    fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        let tables = self.tables.iter();
        tables.flat_map(|table| table.iter().map(|(word, count)| (&**word, *count)))
    }

    /// The most frequent words with their counts in one pass, most frequent first; those of the same count by name.
    pub(crate) fn most_frequent(&self, number: usize) -> Vec<(&str, u64)> {
        let order = |a: &(&str, u64), b: &(&str, u64)| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0));
        let mut words: Vec<(&str, u64)> = self.iter().collect();
        if number < words.len() {
            words.select_nth_unstable_by(number, order);
            words.truncate(number);
        }
        words.sort_unstable_by(order);
        for (_, count) in &mut words {
            *count /= self.passes;
        }
        words
    }

    /// In what `other` differs, in words; nothing if it does not.
    pub(crate) fn differences(&self, other: &Totals) -> Vec<String> {
        let mut lines = Vec::new();
        for (what, here, there) in [
            ("passes", self.passes, other.passes),
            ("files", self.files, other.files),
            ("bytes", self.bytes, other.bytes),
            ("words", self.words, other.words),
        ] {
            if here != there {
                lines.push(format!("{there} {what} instead of {here}"));
            }
        }
        let mut counts: BTreeMap<&str, [u64; 2]> = BTreeMap::new();
        for (side, totals) in [self, other].into_iter().enumerate() {
            for (word, count) in totals.iter() {
                // Added up: a word in two tables of one result is a difference as well, if its sum is wrong.
                counts.entry(word).or_default()[side] += count;
            }
        }
        counts.retain(|_, [here, there]| here != there);
        let differing = counts.len();
        for (word, [here, there]) in counts.into_iter().take(EXAMPLES) {
            lines.push(format!("'{word}' {there} times instead of {here}"));
        }
        if differing > EXAMPLES {
            lines.push(format!("and {} more words", differing - EXAMPLES));
        }
        lines
    }
}

/// Some words of a table.
pub(crate) type Part = Vec<(Box<str>, u64)>;

/// Divides tables into parts, the same way whoever does it: a word is in the same part everywhere.
pub(crate) fn split(tables: Vec<WordMap>, parts: usize) -> Vec<Part> {
    let mut divided: Vec<Part> = (0..parts).map(|_| Part::new()).collect();
    for (word, count) in tables.into_iter().flatten() {
        divided[part_of(&word, parts)].push((word, count));
    }
    divided
}

/// The part that a word belongs to. Not the tables' own hash, which differs from table to table.
fn part_of(word: &str, parts: usize) -> usize {
    let fnv_1a = word.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    (fnv_1a % parts as u64) as usize
}

/// Adds parts up.
pub(crate) fn merge(parts: impl IntoIterator<Item = Part>) -> WordMap {
    let mut table = WordMap::new();
    for part in parts {
        table.reserve(part.len().saturating_sub(table.len()));
        for (word, count) in part {
            *table.entry(word).or_insert(0) += count;
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(tables: &[&[(&str, u64)]]) -> Totals {
        let table = |words: &&[(&str, u64)]| words.iter().map(|(w, n)| ((*w).into(), *n)).collect();
        Totals {
            tables: tables.iter().map(table).collect(),
            passes: 1,
            ..Totals::default()
        }
    }

    #[test]
    fn how_the_words_are_spread_over_tables_is_no_difference() {
        let one = totals(&[&[("a", 1), ("b", 2), ("c", 3)]]);
        let two = totals(&[&[("c", 3)], &[], &[("b", 2), ("a", 1)]]);
        assert_eq!(one.differences(&two), [""; 0]);
        assert_eq!((one.distinct(), two.distinct()), (3, 3));
        assert_eq!(one.most_frequent(2), [("c", 3), ("b", 2)]);
        assert_eq!(two.most_frequent(9), [("c", 3), ("b", 2), ("a", 1)]);
    }

    #[test]
    fn merging_the_parts_gives_the_sum() {
        let one = || totals(&[&[("a", 1), ("b", 2), ("c", 3), ("d", 4)]]);
        let two = || totals(&[&[("d", 5)], &[("e", 6), ("a", 7)]]);
        let sum = totals(&[&[("a", 8), ("b", 2), ("c", 3), ("d", 9), ("e", 6)]]);
        for parts in 1..9 {
            let (one, two) = (split(one().tables, parts), split(two().tables, parts));
            let merged = Totals {
                tables: one
                    .into_iter()
                    .zip(two)
                    .map(|(a, b)| merge([a, b]))
                    .collect(),
                ..totals(&[])
            };
            assert_eq!(sum.differences(&merged), [""; 0]);
            assert_eq!(merged.distinct(), 5, "no word is in two tables");
        }
    }

    #[test]
    fn each_difference_is_named() {
        let one = totals(&[&[("a", 1), ("b", 2)]]);
        let mut two = totals(&[&[("a", 1)], &[("b", 3), ("c", 1)]]);
        two.files = 7;
        assert_eq!(
            one.differences(&two),
            [
                "7 files instead of 0",
                "'b' 3 times instead of 2",
                "'c' 1 times instead of 0"
            ]
        );
        let many: Vec<String> = (0..30).map(|n| format!("w{n:02}")).collect();
        let many: Vec<(&str, u64)> = many.iter().map(|word| (word.as_str(), 1)).collect();
        let lines = totals(&[]).differences(&totals(&[&many]));
        assert_eq!(lines.len(), 11);
        assert_eq!(lines[10], "and 20 more words");
    }
}
