//! What others put in the way: in /dev/shm, and in messages.

use std::ffi::CString;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, chown, symlink};

use allcores::multiprocessing::{Connection, Pipe, SharedMemory, SharedMemoryError, transfer};
use rustix::fs::{MemfdFlags, SealFlags};
use serde::{Deserialize, Serialize, Serializer};

use crate::util::{Cleared, exists, name, path, turn};

#[test]
fn a_symbolic_link_is_not_followed() {
    let _turn = turn();
    let (target, link) = (name("target"), Cleared(name("link")));
    let memory = SharedMemory::create(&target, 10).unwrap();
    symlink(path(&target), path(&link.0)).unwrap();
    let refused = SharedMemory::attach(&link.0).unwrap_err();
    assert!(
        matches!(refused, SharedMemoryError::NotAFile { .. }),
        "{refused}"
    );
    assert!(refused.to_string().contains("symbolic link"), "{refused}");
    assert!(matches!(
        SharedMemory::create(&link.0, 10),
        Err(SharedMemoryError::AlreadyExists { .. })
    ));
    drop(memory);
    assert!(exists(&link.0) && !exists(&target));
}

#[test]
fn what_is_no_file_is_refused() {
    let _turn = turn();
    let (folder, pipe) = (Cleared(name("folder")), Cleared(name("pipe")));
    fs::create_dir(path(&folder.0)).unwrap();
    let text = CString::new(path(&pipe.0).to_str().unwrap()).unwrap();
    // SAFETY: a valid path.
    assert_eq!(unsafe { libc::mkfifo(text.as_ptr(), 0o600) }, 0);
    for name in [&folder.0, &pipe.0] {
        let refused = SharedMemory::attach(name).unwrap_err();
        assert!(
            matches!(refused, SharedMemoryError::NotAFile { .. }),
            "{refused}"
        );
        assert!(exists(name));
    }
}

#[test]
fn what_belongs_to_somebody_else_is_neither_attached_nor_removed() {
    let _turn = turn();
    let file = Cleared(name("theirs"));
    fs::write(path(&file.0), [1; 100]).unwrap();
    // Marked as ours are, and held by nobody.
    fs::set_permissions(path(&file.0), fs::Permissions::from_mode(0o1666)).unwrap();
    if chown(path(&file.0), Some(12_345), None).is_err() {
        eprintln!("only root can give files away: not tested");
        return;
    }
    let refused = SharedMemory::attach(&file.0).unwrap_err();
    assert!(
        matches!(refused, SharedMemoryError::NotOurs { owner: 12_345, .. }),
        "{refused}"
    );
    drop(SharedMemory::create_unique(1).unwrap());
    assert!(exists(&file.0));
}

#[test]
fn what_nobody_marked_is_attached_and_left_where_it_is() {
    let _turn = turn();
    let file = Cleared(name("plain"));
    fs::write(path(&file.0), b"plain bytes").unwrap();
    let memory = SharedMemory::attach(&file.0).unwrap();
    let mut text = [0; 5];
    memory.read_at(6, &mut text).unwrap();
    assert_eq!((&text, memory.size()), (b"bytes", 11));
    memory.close().unwrap();
    assert!(exists(&file.0));
    drop(SharedMemory::create_unique(1).unwrap());
    assert!(exists(&file.0));
    fs::write(path(&file.0), []).unwrap();
    assert!(matches!(
        SharedMemory::attach(&file.0),
        Err(SharedMemoryError::Empty)
    ));
}

#[test]
fn a_file_cut_short_is_an_error() {
    let _turn = turn();
    let name = name("cut");
    let memory = SharedMemory::create(&name, 10_000).unwrap();
    memory.write_at(0, &[1; 10_000]).unwrap();
    let file = fs::OpenOptions::new()
        .write(true)
        .open(path(&name))
        .unwrap();
    file.set_len(100).unwrap();
    let mut few = [0; 100];
    memory.read_at(0, &mut few).unwrap();
    for refused in [
        memory.read_at(50, &mut few).unwrap_err(),
        memory.read_at(9_000, &mut few).unwrap_err(),
        memory.write_at(9_000, &few).unwrap_err(),
    ] {
        assert!(
            matches!(refused, SharedMemoryError::Truncated { size: 10_000, .. }),
            "{refused}"
        );
    }
    assert_eq!(fs::metadata(path(&name)).unwrap().len(), 100);
    drop((memory, file));
    assert!(!exists(&name));
}

/// Looks like a SharedMemory in a message.
struct Forged(Option<String>, OwnedFd);

impl Serialize for Forged {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let index = transfer::attach(self.1.as_fd()).map_err(serde::ser::Error::custom)?;
        (&self.0, index).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Forged {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Forged, D::Error> {
        Err(serde::de::Error::custom("sent only"))
    }
}

fn received(forged: Forged) -> Result<SharedMemory, String> {
    let (a, b) = Pipe::<Forged, ()>().unwrap();
    a.send(&forged).unwrap();
    // The end in which the message waits, for somebody who expects a SharedMemory.
    let b = Connection::<(), SharedMemory>::from_fd(b.into()).unwrap();
    b.recv().map_err(|error| error.to_string())
}

fn memory_file(bytes: u64, provided: bool, seals: SealFlags) -> OwnedFd {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = rustix::fs::memfd_create("forged", flags).unwrap();
    rustix::fs::ftruncate(&file, bytes).unwrap();
    if provided {
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes).unwrap();
    }
    rustix::fs::fcntl_add_seals(&file, seals).unwrap();
    file
}

#[test]
fn a_descriptor_that_is_none_of_ours_is_refused() {
    let _turn = turn();
    let null = || OwnedFd::from(fs::File::open("/dev/null").unwrap());
    let sealed = SealFlags::SHRINK;
    // What is right, first: or everything would be refused for a reason of the test's own.
    let right = received(Forged(None, memory_file(5000, true, sealed))).unwrap();
    assert_eq!(right.size(), 5000);
    let refused = |forged, why: &str| {
        let refused = received(forged).unwrap_err();
        assert!(refused.contains(why), "{refused}");
    };
    refused(Forged(None, null()), "no memory file");
    refused(
        Forged(None, memory_file(10, true, SealFlags::empty())),
        "no memory file",
    );
    // A large number costs its sender nothing, and its receiver nothing either.
    refused(
        Forged(None, memory_file(1 << 40, false, sealed)),
        "has holes",
    );
    refused(Forged(None, memory_file(0, false, sealed)), "is empty");
    let unwritable = SealFlags::SHRINK | SealFlags::WRITE;
    refused(
        Forged(None, memory_file(10, true, unwritable)),
        "cannot be mapped",
    );
    for bad in ["../../etc/passwd", "", "a\0b"] {
        refused(Forged(Some(bad.into()), null()), "cannot be the name");
    }
    refused(
        Forged(Some(name("nobody")), null()),
        "there is no SharedMemory",
    );
    // To know a name is not to hold what has it.
    let named = SharedMemory::create(&name("known"), 10).unwrap();
    refused(
        Forged(named.name().map(str::to_owned), null()),
        "stands for another one",
    );
    assert!(exists(named.name().unwrap()));
}
