//! What is counted: the text files below a folder, cut into pieces of work that are the same for every way.

use super::error::DemoError;
use serde::{Deserialize, Serialize};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use walkdir::WalkDir;

/// Pieces are about this long, so that one long file keeps more than one worker busy.
const PIECE: usize = 1 << 20;
/// Small pieces are taken together up to this.
const BATCH: u64 = 64 << 10;
/// A folder of millions of empty files must not take minutes.
const MOST_FILES: u64 = 200_000;
/// A binary file shows itself early.
const HEAD: u64 = 8 << 10;
/// So many unreadable files are named.
const EXAMPLES: usize = 3;

/// A stretch of one file. It begins and ends between words.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Piece {
    pub(crate) file: u32,
    pub(crate) offset: u64,
    pub(crate) len: u32,
}

/// The work list. It travels to worker processes, so paths are bytes: a file's name need not be UTF-8.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(crate) struct Work {
    files: Vec<Vec<u8>>,
    pieces: Vec<Piece>,
    bytes: u64,
}

impl Work {
    /// The number of pieces in one pass; at least 1.
    pub(crate) fn pieces(&self) -> u64 {
        self.pieces.len() as u64
    }

    /// A piece, by its number in all passes.
    pub(crate) fn piece(&self, number: u64) -> Piece {
        self.pieces[(number % self.pieces()) as usize]
    }

    /// The numbers of the pieces to be taken together, so that small ones are not haggled over one by one; nothing after
    /// the last pass.
    pub(crate) fn batch(&self, from: u64, passes: u64) -> Range<u64> {
        let end = passes.saturating_mul(self.pieces());
        let (mut to, mut bytes) = (from, 0);
        while to < end && bytes < BATCH {
            bytes += u64::from(self.piece(to).len).max(1);
            to += 1;
        }
        from..to
    }

    pub(crate) fn path(&self, piece: Piece) -> &Path {
        Path::new(OsStr::from_bytes(&self.files[piece.file as usize]))
    }

    /// The paths, as bytes: a piece names its own by number.
    pub(crate) fn files(&self) -> impl Iterator<Item = &[u8]> {
        self.files.iter().map(Vec::as_slice)
    }

    /// The length of all pieces.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    fn add(&mut self, path: PathBuf, text: &str) {
        let file = u32::try_from(self.files.len()).expect("fewer than MOST_FILES");
        self.files.push(path.into_os_string().into_vec());
        let mut offset = 0;
        for len in piece_lengths(text) {
            self.pieces.push(Piece {
                file,
                offset,
                len: u32::try_from(len).expect("at most as long as the corpus"),
            });
            offset += len as u64;
        }
        self.bytes += offset;
    }
}

/// What lies below the folder and is not counted.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Skipped {
    /// Not valid UTF-8, or with a NUL in it.
    pub(crate) binary: u64,
    pub(crate) unreadable: u64,
    /// Symbolic links, FIFOs, sockets and devices. They are never opened.
    pub(crate) special: u64,
    /// Whether there was more text than was asked for.
    pub(crate) limit_reached: bool,
    #[serde(skip)]
    pub(crate) unreadable_examples: Vec<String>,
}

impl Skipped {
    fn unreadable(&mut self, path: &Path, error: &io::Error) {
        self.unreadable += 1;
        if self.unreadable_examples.len() < EXAMPLES {
            let example = format!("{} ({error})", path.display());
            self.unreadable_examples.push(example);
        }
    }
}

/// The text below a folder.
#[derive(Debug)]
pub(crate) struct Corpus {
    pub(crate) folder: PathBuf,
    pub(crate) work: Arc<Work>,
    pub(crate) skipped: Skipped,
}

/// Looks through the first folder of [`default_folders`] that has text.
pub(crate) fn survey_default(limit: u64) -> Result<Corpus, DemoError> {
    let folders = default_folders();
    for folder in &folders {
        if let Ok(corpus) = survey(folder, limit) {
            return Ok(corpus);
        }
    }
    let names: Vec<String> = folders.iter().map(|f| f.display().to_string()).collect();
    Err(DemoError::NoDefault(names.join(", ")))
}

/// Where there is text on a machine that has Rust, best first.
fn default_folders() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    let cargo = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    if let Some(cargo) = cargo.or_else(|| Some(std::env::home_dir()?.join(".cargo"))) {
        folders.push(cargo.join("registry/src"));
    }
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output();
    if let Ok(output) = sysroot
        && output.status.success()
    {
        let sysroot = output.stdout.trim_ascii_end();
        folders.push(Path::new(OsStr::from_bytes(sysroot)).join("share/doc"));
    }
    folders.push(PathBuf::from("/usr/share"));
    folders
}

/// Reads what is below `folder`, in the order of the names, until `limit` bytes of text have been found.
pub(crate) fn survey(folder: &Path, limit: u64) -> Result<Corpus, DemoError> {
    let unreadable = |source| DemoError::Unreadable {
        folder: folder.to_owned(),
        source,
    };
    match std::fs::metadata(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(DemoError::Missing(folder.to_owned()));
        }
        Err(error) => return Err(unreadable(error)),
        Ok(metadata) if !metadata.is_dir() => {
            return Err(DemoError::NotAFolder(folder.to_owned()));
        }
        Ok(_) => {}
    }
    // Absolute, so that it means the same in a process that was started elsewhere.
    let start = folder.canonicalize().map_err(unreadable)?;

    let (mut work, mut skipped) = (Work::default(), Skipped::default());
    let mut seen = 0;
    for entry in WalkDir::new(&start).sort_by_file_name() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                let path = error.path().unwrap_or(&start).to_owned();
                skipped.unreadable(&path, &error.into());
                continue;
            }
        };
        if entry.file_type().is_dir() {
            continue;
        }
        if work.bytes >= limit || seen == MOST_FILES {
            skipped.limit_reached = true;
            break;
        }
        seen += 1;
        if !entry.file_type().is_file() {
            skipped.special += 1;
            continue;
        }
        match read_text(entry.path(), limit - work.bytes) {
            Ok(Some(text)) if text.cut => {
                if !text.text.is_empty() {
                    work.add(entry.into_path(), &text.text);
                }
                skipped.limit_reached = true;
                break;
            }
            Ok(Some(text)) => work.add(entry.into_path(), &text.text),
            Ok(None) => skipped.binary += 1,
            Err(error) => skipped.unreadable(entry.path(), &error),
        }
    }
    if work.bytes == 0 {
        let found = format!(
            "{} empty files, {} binary, {} unreadable, {} links and special files",
            work.files.len(),
            skipped.binary,
            skipped.unreadable,
            skipped.special
        );
        return Err(DemoError::NoText {
            folder: folder.to_owned(),
            found,
        });
    }
    Ok(Corpus {
        folder: folder.to_owned(),
        work: Arc::new(work),
        skipped,
    })
}

struct Text {
    text: String,
    /// Whether the file goes on.
    cut: bool,
}

/// The text of a file, at most `limit` bytes of it, or `None` if it is binary.
fn read_text(path: &Path, limit: u64) -> io::Result<Option<Text>> {
    let mut file = File::open(path)?;
    let mut bytes = Vec::new();
    file.by_ref()
        .take(HEAD.min(limit))
        .read_to_end(&mut bytes)?;
    if bytes.contains(&0) {
        return Ok(None);
    }
    // One byte more than wanted tells whether there is more.
    let rest = limit + 1 - bytes.len() as u64;
    file.take(rest).read_to_end(&mut bytes)?;
    if bytes.contains(&0) {
        return Ok(None);
    }
    let cut = bytes.len() as u64 > limit;
    let valid = match std::str::from_utf8(&bytes) {
        Ok(_) => bytes.len(),
        // The limit fell into a character.
        Err(error) if cut && error.error_len().is_none() => error.valid_up_to(),
        Err(_) => return Ok(None),
    };
    bytes.truncate(valid);
    let mut text = String::from_utf8(bytes).expect("valid so far");
    if cut {
        let end = floor_char_boundary(&text, valid.min(limit as usize));
        text.truncate(last_gap(&text, 0, end).unwrap_or(0));
    }
    Ok(Some(Text { text, cut }))
}

/// Cuts text between words into lengths of about `PIECE`, or longer where a word is.
fn piece_lengths(text: &str) -> Vec<usize> {
    let mut lengths = Vec::new();
    let mut start = 0;
    while text.len() - start > PIECE {
        let wanted = floor_char_boundary(text, start + PIECE);
        let end = last_gap(text, start, wanted).or_else(|| {
            let found = text[wanted..].find(|c: char| !c.is_alphabetic())?;
            Some(wanted + found)
        });
        let Some(end) = end else { break };
        lengths.push(end - start);
        start = end;
    }
    lengths.push(text.len() - start);
    lengths
}

/// The last place between `start` and `end` that is before a character of no word, and not at `start` itself.
fn last_gap(text: &str, start: usize, end: usize) -> Option<usize> {
    let found = text[start..end].rfind(|c: char| !c.is_alphabetic())?;
    (found > 0).then_some(start + found)
}

fn floor_char_boundary(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_the_text_and_never_cut_a_word() {
        let word = "Überraschung";
        let mut text = String::new();
        while text.len() < 3 * PIECE {
            text.push_str(word);
            text.push(' ');
        }
        let lengths = piece_lengths(&text);
        assert!(lengths.len() >= 3, "{lengths:?}");
        assert_eq!(lengths.iter().sum::<usize>(), text.len());
        let mut rest = text.as_str();
        for length in lengths {
            let (piece, after) = rest.split_at(length);
            assert!(piece.split_whitespace().all(|found| found == word));
            assert!(piece.len() <= PIECE);
            rest = after;
        }
    }

    #[test]
    fn a_word_longer_than_a_piece_stays_whole() {
        let text = format!("a {} b", "é".repeat(PIECE));
        let lengths = piece_lengths(&text);
        assert_eq!(lengths.iter().sum::<usize>(), text.len());
        let mut rest = text.as_str();
        let mut words = Vec::new();
        for length in lengths {
            let (piece, after) = rest.split_at(length);
            words.extend(piece.split_whitespace().map(str::len));
            rest = after;
        }
        assert_eq!(words, [1, 2 * PIECE, 1]);
        // No gap at all.
        assert_eq!(piece_lengths(&"é".repeat(PIECE)), [2 * PIECE]);
    }

    #[test]
    fn a_limit_inside_a_character_cuts_before_the_word() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "ein Grüß").unwrap();
        for limit in 1..=9 {
            let text = read_text(file.path(), limit).unwrap().unwrap();
            let expected = if limit < 4 { "" } else { "ein" };
            assert_eq!((text.text.as_str(), text.cut), (expected, true), "{limit}");
        }
        let text = read_text(file.path(), 10).unwrap().unwrap();
        assert_eq!((text.text.as_str(), text.cut), ("ein Grüß", false));
    }
}
