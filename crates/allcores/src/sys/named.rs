//! Files with names that processes share memory by, and the locks that tell whether anybody still holds one.
//!
//! A lock of flock(2) belongs to an *open file description*: descriptors that were duplicated, forked or sent in messages
//! share it, and so do mappings. The kernel drops it when the last of those is gone, however its process ended.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, StatxFlags};
use rustix::io::{Errno, retry_on_intr};

/// A directory of such files.
pub(crate) struct Directory(OwnedFd);

/// Which file it is, as far as this machine goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    device: (u32, u32),
    inode: u64,
}

/// What there is to know about a file.
pub(crate) struct Look {
    pub(crate) identity: Identity,
    pub(crate) is_file: bool,
    pub(crate) is_link: bool,
    pub(crate) owner: u32,
    pub(crate) size: u64,
    /// Whether it bears our mark: see [`mark`].
    pub(crate) marked: bool,
}

impl From<rustix::fs::Stat> for Look {
    fn from(stat: rustix::fs::Stat) -> Look {
        let kind = FileType::from_raw_mode(stat.st_mode);
        let device = (
            rustix::fs::major(stat.st_dev),
            rustix::fs::minor(stat.st_dev),
        );
        Look {
            identity: Identity {
                device,
                inode: stat.st_ino,
            },
            is_file: kind == FileType::RegularFile,
            is_link: kind == FileType::Symlink,
            owner: stat.st_uid,
            size: stat.st_size as u64,
            marked: Mode::from_raw_mode(stat.st_mode).contains(Mode::SVTX),
        }
    }
}

/// Who this process acts as.
pub(crate) fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}

impl Directory {
    pub(crate) fn open(path: &CStr) -> io::Result<Directory> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        Ok(Directory(retry_on_intr(|| {
            rustix::fs::open(path, flags, Mode::empty())
        })?))
    }

    /// A new file without a name, for its owner alone.
    pub(crate) fn unnamed(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        Ok(retry_on_intr(|| {
            rustix::fs::openat(&self.0, c".", flags, Mode::RUSR | Mode::WUSR)
        })?)
    }

    /// Gives such a file its name, unless somebody else has that.
    pub(crate) fn link(&self, file: BorrowedFd<'_>, name: &str) -> io::Result<()> {
        // Linux 6.10 and later do it by the descriptor alone; root always could.
        if rustix::fs::linkat(file, c"", &self.0, name, AtFlags::EMPTY_PATH).is_ok() {
            return Ok(());
        }
        let itself = format!("/proc/self/fd/{}", file.as_raw_fd());
        Ok(rustix::fs::linkat(
            rustix::fs::CWD,
            itself,
            &self.0,
            name,
            AtFlags::SYMLINK_FOLLOW,
        )?)
    }

    /// Opens what has that name, and waits for nothing; a symbolic link is not followed.
    pub(crate) fn file(&self, name: &CStr, write: bool) -> io::Result<OwnedFd> {
        let access = if write { OFlags::RDWR } else { OFlags::RDONLY };
        let flags = access | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        Ok(retry_on_intr(|| {
            rustix::fs::openat(&self.0, name, flags, Mode::empty())
        })?)
    }

    /// What has that name, a symbolic link not followed; `None` if nothing.
    pub(crate) fn look(&self, name: &CStr) -> io::Result<Option<Look>> {
        match rustix::fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat.into())),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the name stands for that file.
    pub(crate) fn names(&self, name: &CStr, file: Identity) -> io::Result<bool> {
        Ok(self.look(name)?.is_some_and(|look| look.identity == file))
    }

    /// Takes the name away; those who have the file open keep it.
    pub(crate) fn unlink(&self, name: &CStr) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.0, name, AtFlags::empty())?)
    }

    /// Calls `visit` with each name.
    pub(crate) fn each(&self, mut visit: impl FnMut(&CStr)) -> io::Result<()> {
        for entry in rustix::fs::Dir::read_from(&self.0)? {
            visit(entry?.file_name());
        }
        Ok(())
    }
}

/// What an open file is.
pub(crate) fn look(file: BorrowedFd<'_>) -> io::Result<Look> {
    Ok(rustix::fs::fstat(file)?.into())
}

/// Which file a descriptor of unknown origin stands for. A file system in somebody's program is not asked: it might never
/// answer.
pub(crate) fn identity_unasked(file: BorrowedFd<'_>) -> io::Result<Identity> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::from_bits_retain(libc::AT_STATX_DONT_SYNC as u32);
    let stat = rustix::fs::statx(file, c"", flags, StatxFlags::INO)?;
    Ok(Identity {
        device: (stat.stx_dev_major, stat.stx_dev_minor),
        inode: stat.stx_ino,
    })
}

/// Marks a file as one that is to be removed when nobody holds it any more: by the sticky bit, which means nothing for a
/// file otherwise. The mark is the file's own, so no other file can be mistaken for it, and its bytes are all its user's.
pub(crate) fn mark(file: BorrowedFd<'_>) -> io::Result<()> {
    Ok(rustix::fs::fchmod(
        file,
        Mode::RUSR | Mode::WUSR | Mode::SVTX,
    )?)
}

/// Takes the file's lock, shared with other holders or alone; `false` if others stand against it.
pub(crate) fn try_hold(file: BorrowedFd<'_>, alone: bool) -> io::Result<bool> {
    let operation = if alone {
        FlockOperation::NonBlockingLockExclusive
    } else {
        FlockOperation::NonBlockingLockShared
    };
    match retry_on_intr(|| rustix::fs::flock(file, operation)) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Runs `work` while no other open file description of the same file is inside this function. The lock is another one than
/// [`try_hold`]'s.
pub(crate) fn one_at_a_time<T>(file: BorrowedFd<'_>, work: impl FnOnce() -> T) -> io::Result<T> {
    let set = |kind: libc::c_int| loop {
        let lock = libc::flock {
            l_type: kind as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: 0,
            l_len: 0,
            l_pid: 0,
        };
        // SAFETY: an open descriptor and a valid lock description, which the call only reads.
        if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLKW, &lock) } == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    };
    set(libc::F_WRLCK)?;
    let result = work();
    set(libc::F_UNLCK)?;
    Ok(result)
}
