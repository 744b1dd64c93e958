//! Named segments: who holds them, and who removes them. `README.md` tells what happens to whom.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::SharedMemoryError;
use crate::sys::memory::{self, Area};
use crate::sys::named::{self, Directory, Identity};
use crate::sys::random;

/// Where glibc's shm_open, and hence Python, keep theirs.
const DIRECTORY: &CStr = c"/dev/shm";

/// How often an attacher looks again when the name changes hands under its eyes.
const TRIES: usize = 16;

/// The name of a segment, and which file it stood for when the segment was made or attached.
#[derive(Clone, Debug)]
pub(super) struct Name {
    text: CString,
    pub(super) file: Identity,
}

impl Name {
    pub(super) fn as_str(&self) -> &str {
        self.text.to_str().expect("a name was a str when it came")
    }
}

fn directory() -> Result<Directory, SharedMemoryError> {
    open_directory().map_err(unusable)
}

fn open_directory() -> io::Result<Directory> {
    // What the controls leave behind on purpose must not be cleared away by others who do their work.
    #[cfg(debug_assertions)]
    if let Some(elsewhere) = std::env::var_os("ALLCORES_TEST_SHM") {
        use std::os::unix::ffi::OsStringExt;
        return Directory::open(&CString::new(elsewhere.into_vec())?);
    }
    Directory::open(DIRECTORY)
}

/// Why nothing can be made or found in the directory.
fn unusable(source: io::Error) -> SharedMemoryError {
    use libc::{EACCES, EISDIR, ENOENT, ENOTDIR, EOPNOTSUPP, EPERM, EROFS};
    match source.raw_os_error() {
        Some(EACCES | EISDIR | ENOENT | ENOTDIR | EOPNOTSUPP | EPERM | EROFS) => {
            SharedMemoryError::NoDirectory { source }
        }
        _ => SharedMemoryError::Os {
            what: "/dev/shm cannot be used",
            source,
        },
    }
}

fn checked(name: &str) -> Result<CString, SharedMemoryError> {
    let invalid = |reason| SharedMemoryError::InvalidName {
        name: name.chars().take(300).collect(),
        reason,
    };
    if name.is_empty() {
        return Err(invalid("it is empty"));
    }
    if name.len() > 255 {
        return Err(invalid("it is too long"));
    }
    if name.contains('/') {
        return Err(invalid("it contains a '/'"));
    }
    if name == "." || name == ".." {
        return Err(invalid("it means a directory"));
    }
    CString::new(name).map_err(|_| invalid("it contains a NUL"))
}

/// A new segment under that name.
pub(super) fn create(name: &str, bytes: usize) -> Result<(OwnedFd, Area, Name), SharedMemoryError> {
    let text = checked(name)?;
    let directory = directory()?;
    sweep(&directory);
    let (file, area) = make(&directory, bytes)?;
    finish(&directory, file, area, text)
}

/// A new segment under a name of the kind that Python chooses.
pub(super) fn create_unique(bytes: usize) -> Result<(OwnedFd, Area, Name), SharedMemoryError> {
    let directory = directory()?;
    sweep(&directory);
    let (mut file, mut area) = make(&directory, bytes)?;
    loop {
        let mut four = [0; 4];
        random::fill(&mut four).map_err(SharedMemoryError::os("no random name"))?;
        let name = format!("psm_{:08x}", u32::from_ne_bytes(four));
        match finish(&directory, file, area, checked(&name)?) {
            Err(SharedMemoryError::AlreadyExists { .. }) => {
                (file, area) = make(&directory, bytes)?;
            }
            made => return made,
        }
    }
}

/// A file that is held, marked, as large as it shall be, and has no name yet: if we are killed, nothing is left.
fn make(directory: &Directory, bytes: usize) -> Result<(OwnedFd, Area), SharedMemoryError> {
    let no_space = |source| SharedMemoryError::NoSpace {
        wanted: bytes,
        source,
    };
    let file = directory.unnamed().map_err(|source| match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => no_space(source),
        _ => unusable(source),
    })?;
    named::mark(file.as_fd()).map_err(SharedMemoryError::os("a file cannot be marked"))?;
    memory::provide(file.as_fd(), 0, bytes as u64).map_err(no_space)?;
    let area = Area::new(file.as_fd(), bytes).map_err(no_space)?;
    let held = named::try_hold(file.as_fd(), false)
        .map_err(SharedMemoryError::os("a file cannot be locked"))?;
    assert!(held, "nobody else knows of the file");
    Ok((file, area))
}

fn finish(
    directory: &Directory,
    file: OwnedFd,
    area: Area,
    text: CString,
) -> Result<(OwnedFd, Area, Name), SharedMemoryError> {
    let name = text.to_str().expect("a checked name");
    directory
        .link(file.as_fd(), name)
        .map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => SharedMemoryError::AlreadyExists { name: name.into() },
            io::ErrorKind::StorageFull => SharedMemoryError::NoSpace {
                wanted: area.size(),
                source,
            },
            _ => SharedMemoryError::Os {
                what: "a SharedMemory cannot be given its name through /proc/self/fd",
                source,
            },
        })?;
    let look = named::look(file.as_fd()).map_err(SharedMemoryError::os("a file is not seen"))?;
    let name = Name {
        text,
        file: look.identity,
    };
    Ok((file, area, name))
}

/// The segment that has that name; if `expected`, it must be that file.
pub(super) fn attach(
    name: &str,
    expected: Option<Identity>,
) -> Result<(OwnedFd, Area, Name), SharedMemoryError> {
    let text = checked(name)?;
    let directory = directory()?;
    sweep(&directory);
    let not_found = || SharedMemoryError::NotFound { name: name.into() };
    let failed = || SharedMemoryError::os("a SharedMemory cannot be attached");
    for _ in 0..TRIES {
        // Before it is opened: opening a device or a pipe may do something.
        let look = directory
            .look(&text)
            .map_err(failed())?
            .ok_or_else(not_found)?;
        suitable(name, &look)?;
        let file = match directory.file(&text, true) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(not_found()),
            Err(error) => return Err(failed()(error)),
        };
        let look = named::look(file.as_fd()).map_err(failed())?;
        suitable(name, &look)?;
        // Whoever has it alone is about to remove it. What bears no mark is nobody's to remove, and needs no lock.
        if look.marked && !named::try_hold(file.as_fd(), false).map_err(failed())? {
            return Err(not_found());
        }
        // Removed, and perhaps made anew, before we had the lock.
        if !directory.names(&text, look.identity).map_err(failed())? {
            continue;
        }
        if expected.is_some_and(|expected| expected != look.identity) {
            return Err(SharedMemoryError::Unsuitable {
                reason: "its name stands for another one here: it was unlinked and made anew, or its sender sees another /dev/shm",
            });
        }
        return map(file, &look, text);
    }
    Err(not_found())
}

fn map(
    file: OwnedFd,
    look: &named::Look,
    text: CString,
) -> Result<(OwnedFd, Area, Name), SharedMemoryError> {
    let size = usize::try_from(look.size).unwrap_or(usize::MAX);
    if size == 0 {
        return Err(SharedMemoryError::Empty);
    }
    let no_space = |source| SharedMemoryError::NoSpace {
        wanted: size,
        source,
    };
    // Others make theirs with holes, which would be filled when they are touched, or not.
    memory::provide(file.as_fd(), 0, look.size).map_err(no_space)?;
    let area = Area::new(file.as_fd(), size).map_err(no_space)?;
    let name = Name {
        text,
        file: look.identity,
    };
    Ok((file, area, name))
}

fn suitable(name: &str, look: &named::Look) -> Result<(), SharedMemoryError> {
    if look.is_link {
        return Err(SharedMemoryError::NotAFile {
            name: name.into(),
            what: "a symbolic link, which might lead anywhere",
        });
    }
    if !look.is_file {
        return Err(SharedMemoryError::NotAFile {
            name: name.into(),
            what: "a directory, a pipe, a socket or a device",
        });
    }
    if look.owner != named::user() {
        return Err(SharedMemoryError::NotOurs {
            name: name.into(),
            owner: look.owner,
        });
    }
    Ok(())
}

/// One more look at a file that we hold, by its name: an open file description of its own.
pub(super) struct Probe {
    directory: Directory,
    file: OwnedFd,
}

/// Opens the file once more, before we let go of it; `None` if the name is gone or stands for another file, or if the file
/// is not one of ours to remove.
pub(super) fn probe(name: &Name) -> io::Result<Option<Probe>> {
    let directory = open_directory()?;
    match directory.file(&name.text, false) {
        Ok(file) => {
            let look = named::look(file.as_fd())?;
            let ours = look.identity == name.file && look.marked;
            Ok(ours.then_some(Probe { directory, file }))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl Probe {
    /// Removes the file if nobody holds it any more.
    pub(super) fn remove_if_last(self, name: &Name) -> io::Result<()> {
        if careless("rob") {
            return self.directory.unlink(&name.text);
        }
        remove_abandoned(&self.directory, self.file.as_fd(), &name.text, name.file)
    }
}

/// Removes the name of a file, if it still stands for that and nobody holds the file. While we have it alone nobody attaches
/// it, and nobody of ours unlinks it: for that one must hold it.
fn remove_abandoned(
    directory: &Directory,
    file: BorrowedFd<'_>,
    name: &CStr,
    identity: Identity,
) -> io::Result<()> {
    if named::try_hold(file, true)? && directory.names(name, identity)? {
        directory.unlink(name)?;
    }
    Ok(())
}

/// Takes the name away from a file that we hold. One at a time, or the second one could hit what has been made anew.
pub(super) fn unlink(name: &Name) -> Result<(), SharedMemoryError> {
    let directory = directory()?;
    let remove = || {
        // An open file description of our own: the lock is between those.
        let file = match directory.file(&name.text, true) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            file => file?,
        };
        if named::look(file.as_fd())?.identity != name.file {
            return Ok(());
        }
        named::one_at_a_time(file.as_fd(), || {
            if directory.names(&name.text, name.file)? {
                directory.unlink(&name.text)?;
            }
            Ok(())
        })?
    };
    remove().map_err(SharedMemoryError::os(
        "the name of a SharedMemory cannot be taken away",
    ))
}

/// Removes what was left by programs of this user that were all killed: files that bear our mark and that nobody holds. What
/// cannot be looked at is left alone.
fn sweep(directory: &Directory) {
    if careless("leave") {
        return;
    }
    let _ = directory.each(|name| {
        let ours = |look: &named::Look| look.is_file && look.marked && look.owner == named::user();
        if !directory
            .look(name)
            .is_ok_and(|look| look.is_some_and(|look| ours(&look)))
        {
            return;
        }
        let Ok(file) = directory.file(name, false) else {
            return;
        };
        // What we have opened may be another file by now.
        if let Ok(look) = named::look(file.as_fd())
            && ours(&look)
        {
            let _ = remove_abandoned(directory, file.as_fd(), name, look.identity);
        }
    });
}

/// For the controls of the tests that kill: a debug build does without one of its cares, and they must see it.
fn careless(of: &str) -> bool {
    cfg!(debug_assertions)
        && std::env::var_os("ALLCORES_TEST_CARELESS").is_some_and(|value| value == of)
}
