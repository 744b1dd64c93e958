//! Anonymous shared memory: a memfd that grows, mapped once at its largest possible size.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;

use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};
use rustix::mm::{Advice, MapFlags, ProtFlags};

use super::available;

/// From this size on we look whether there is as much.
const MUCH: u64 = 16 << 20;

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
/// than to fill it. What shares the first or the last of these pages is meant as well.
pub(crate) fn prefer_huge_pages(room: &mut [MaybeUninit<u8>]) {
    if room.len() < HUGE_PAGE {
        return;
    }
    let start = room.as_mut_ptr().addr();
    let first = start / HUGE_PAGE * HUGE_PAGE;
    let last = (start + room.len()).next_multiple_of(HUGE_PAGE);
    let place = room.as_mut_ptr().with_addr(first).cast();
    // SAFETY: how large the pages of private memory are changes nothing that is in it, whomever it belongs to. It is advice: what is
    // not mapped, and kernels without huge pages, are refused.
    let _ = unsafe { rustix::mm::madvise(place, last - first, Advice::LinuxHugepage) };
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
/// ENOMEM where there is not as much, EFBIG where the limit on the size of files forbids it.
pub(crate) fn provide(file: BorrowedFd<'_>, offset: u64, length: u64) -> io::Result<()> {
    within_limit(offset.saturating_add(length))?;
    if length >= MUCH && available::bytes().is_some_and(|bytes| length > bytes) {
        return Err(io::Error::from_raw_os_error(libc::ENOMEM));
    }
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

/// Maps the pages of a range at once, where the kernel can (Linux 5.14); otherwise they are mapped one by one as they are
/// touched.
///
/// # Safety
/// The range must be mapped, and have memory behind it.
pub(crate) unsafe fn populate(start: NonNull<u8>, length: usize) {
    const PAGE: usize = 4096;
    let into = start.addr().get() % PAGE;
    // SAFETY: whole pages of what the caller says is mapped; nothing in them is changed.
    let _ = unsafe {
        rustix::mm::madvise(
            start.as_ptr().sub(into).cast(),
            length + into,
            rustix::mm::Advice::LinuxPopulateWrite,
        )
    };
}

/// How much memory the file has, holes not counted.
pub(crate) fn resident(file: BorrowedFd<'_>) -> io::Result<u64> {
    Ok(rustix::fs::fstat(file)?.st_blocks as u64 * 512)
}

/// A file must not grow beyond RLIMIT_FSIZE: the kernel would send SIGXFSZ, whose default is the end of the process.
fn within_limit(length: u64) -> io::Result<()> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Fsize);
    if length > limit.current.unwrap_or(u64::MAX).min(i64::MAX as u64) {
        return Err(io::Error::from_raw_os_error(libc::EFBIG));
    }
    Ok(())
}

/// Writes the bytes at `offset` without mapping them.
pub(crate) fn write_exactly(
    file: BorrowedFd<'_>,
    mut from: &[u8],
    mut offset: u64,
) -> io::Result<()> {
    within_limit(offset.saturating_add(from.len() as u64))?;
    while !from.is_empty() {
        match rustix::io::retry_on_intr(|| rustix::io::pwrite(file, from, offset))? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            count => {
                from = &from[count..];
                offset += count as u64;
            }
        }
    }
    Ok(())
}

/// All of a file, mapped as long as this lives.
pub(crate) struct Area {
    base: NonNull<u8>,
    size: usize,
}

// SAFETY: as for `Mapping`.
unsafe impl Send for Area {}
// SAFETY: as for `Mapping`.
unsafe impl Sync for Area {}

impl Area {
    /// Maps the first `size` bytes, which must not be none.
    pub(crate) fn new(file: BorrowedFd<'_>, size: usize) -> io::Result<Area> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at a place that the kernel chooses.
        let base = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                size,
                access,
                MapFlags::SHARED,
                file,
                0,
            )?
        };
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Area { base, size })
    }

    #[inline]
    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }

    #[inline]
    pub(crate) fn size(&self) -> usize {
        self.size
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this size, and nobody has a reference into it that outlives us.
        let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.size) };
    }
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
