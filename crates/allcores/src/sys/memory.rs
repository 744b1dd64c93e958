//! Anonymous shared memory: a memfd that grows, mapped once at its largest possible size.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;

use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};
use rustix::mm::{Advice, MapFlags, ProtFlags};

/// A memfd and where it is mapped. Never unmapped: see the registry's README.
pub(crate) struct Mapping {
    descriptor: OwnedFd,
    base: NonNull<u8>,
    reserve: usize,
}

// SAFETY: the mapping is plain shared memory; what may be done to it is decided by those who use it.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

/// A new anonymous file that can never shrink under those who map it.
pub(crate) fn create(name: &str) -> io::Result<OwnedFd> {
    let file = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK)?;
    Ok(file)
}

/// The length of the file.
pub(crate) fn length(file: BorrowedFd<'_>) -> io::Result<u64> {
    Ok(rustix::fs::fstat(file)?.st_size as u64)
}

/// Reads the bytes at `offset` without mapping them. An end before that is an error.
pub(crate) fn read_exactly(
    file: BorrowedFd<'_>,
    mut into: &mut [u8],
    mut offset: u64,
) -> io::Result<()> {
    while !into.is_empty() {
        match rustix::io::retry_on_intr(|| rustix::io::pread(file, &mut *into, offset))? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                into = &mut into[count..];
                offset += count as u64;
            }
        }
    }
    Ok(())
}

/// Whether the file is sealed against shrinking.
pub(crate) fn cannot_shrink(file: BorrowedFd<'_>) -> bool {
    rustix::fs::fcntl_get_seals(file).is_ok_and(|seals| seals.contains(SealFlags::SHRINK))
}

/// Asks for huge pages in the private memory that holds `room`, before it is touched for the first time: that takes longer
/// than to fill it. Only pages that lie in `room` as a whole are meant.
pub(crate) fn prefer_huge_pages(room: &mut [MaybeUninit<u8>]) {
    let start = room.as_mut_ptr();
    let skipped = start.align_offset(HUGE_PAGE);
    let whole = room.len().saturating_sub(skipped) / HUGE_PAGE * HUGE_PAGE;
    if whole > 0 {
        // SAFETY: the range lies in `room`, which is borrowed here; how large its pages are changes nothing that is in it. It
        // is advice: a kernel without huge pages refuses it.
        let _ = unsafe {
            rustix::mm::madvise(
                start.wrapping_add(skipped).cast(),
                whole,
                Advice::LinuxHugepage,
            )
        };
    }
}

/// The size of a huge page on x86-64, and on aarch64 with pages of 4 KiB.
pub(crate) const HUGE_PAGE: usize = 2 << 20;

/// Makes the file at least `length` long, without giving it memory yet.
pub(crate) fn lengthen(file: BorrowedFd<'_>, length: u64) -> io::Result<()> {
    if self::length(file)? < length {
        within_limit(length)?;
        rustix::fs::ftruncate(file, length)?;
    }
    Ok(())
}

/// Gives `length` bytes from `offset` real memory, so that touching them can never fail, and makes the file long enough.
pub(crate) fn provide(file: BorrowedFd<'_>, offset: u64, length: u64) -> io::Result<()> {
    within_limit(offset.saturating_add(length))?;
    Ok(rustix::io::retry_on_intr(|| {
        rustix::fs::fallocate(file, FallocateFlags::empty(), offset, length)
    })?)
}

/// Gives the memory behind the whole pages of a range back to the system, and zeroes the rest of it. The file stays as long
/// as it is; what is there from now on is zero, but not provided.
pub(crate) fn punch(file: BorrowedFd<'_>, offset: u64, length: u64) -> io::Result<()> {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    Ok(rustix::io::retry_on_intr(|| {
        rustix::fs::fallocate(file, flags, offset, length)
    })?)
}

/// How much memory the file has, holes not counted.
pub(crate) fn resident(file: BorrowedFd<'_>) -> io::Result<u64> {
    Ok(rustix::fs::fstat(file)?.st_blocks as u64 * 512)
}

/// A file must not grow beyond RLIMIT_FSIZE: the kernel would send SIGXFSZ, whose default is the end of the process.
fn within_limit(length: u64) -> io::Result<()> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Fsize);
    if limit.current.is_some_and(|limit| length > limit) {
        return Err(io::Error::from_raw_os_error(libc::EFBIG));
    }
    Ok(())
}

impl Mapping {
    /// Maps `reserve` bytes of the file's future. What lies behind its end must not be touched.
    pub(crate) fn new(descriptor: OwnedFd, reserve: usize) -> io::Result<Mapping> {
        // SAFETY: a new mapping at a place that the kernel chooses.
        let base = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                reserve,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED | MapFlags::NORESERVE,
                &descriptor,
                0,
            )?
        };
        // A crash would otherwise write the whole reserve out before anybody hears of the death. A failure costs no more.
        // SAFETY: the range was mapped just now, and the advice changes no contents.
        let _ = unsafe { rustix::mm::madvise(base, reserve, Advice::LinuxDontDump) };
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Mapping {
            descriptor,
            base,
            reserve,
        })
    }

    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }

    pub(crate) fn reserve(&self) -> usize {
        self.reserve
    }
}

impl AsFd for Mapping {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}
