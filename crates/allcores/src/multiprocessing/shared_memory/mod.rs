//! SharedMemory: plain bytes that processes share, without a name or with one.

mod error;
mod named;

use std::fmt;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

pub use error::SharedMemoryError;

use super::transfer;
use crate::shm::{Atom, copies};
use crate::sys::memory::{self, Area};

/// A piece of memory that processes share.
///
/// One without a name ([`new`](SharedMemory::new)) is reached by those it was sent to, in the arguments of a Process or
/// through a Connection, also by programs that are no relatives. It needs no place in any file system, and is gone with the
/// last process that has it, however that ends.
///
/// One with a name ([`create`](SharedMemory::create), [`attach`](SharedMemory::attach)) is a plain file in `/dev/shm`, as
/// Python's `multiprocessing.shared_memory.SharedMemory` makes them: its bytes are all of the file, from the first one on,
/// and stock Python attaches it by the same name. The name goes when the last holder lets go; if all holders were killed, it
/// goes when the next program of the same user creates or attaches a named one. A process that only attaches never takes a
/// segment away from those who hold it. What Python has made is Python's to unlink, and stays until it does.
///
/// There is no lock in it. Copies ([`read_at`](SharedMemory::read_at), [`write_at`](SharedMemory::write_at)) bear with
/// others that write at the same time, and may be a mixture of old and new then; use [`atomics`](SharedMemory::atomics) or a
/// [`Lock`](super::Lock) beside it to agree on anything.
///
/// ```
/// use allcores::multiprocessing::{Process, SharedMemory};
///
/// fn fill(memory: SharedMemory) {
///     memory.write_at(10, b"hello").unwrap();
/// }
///
/// let memory = SharedMemory::new(1 << 20)?;
/// Process::new(fill, memory.clone()).start()?.join()?;
/// let mut text = [0; 5];
/// memory.read_at(10, &mut text)?;
/// assert_eq!(&text, b"hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Clones are handles on one mapping. All memory is there from the start, so touching it never fails for want of it.
///
/// # Named ones can be cut short
/// The kernel can keep a file without a name from shrinking, and does; it cannot for one in `/dev/shm`. If another program
/// of the same user truncates that, `read_at` and `write_at` return an error, but touching the missing part by pointer,
/// slice or atomic ends the process with SIGBUS, as with shm_open(3). Files of other users are not attached at all.
#[derive(Clone)]
pub struct SharedMemory {
    segment: Arc<Segment>,
}

/// What is let go when the last handle of this process is dropped.
struct Segment {
    /// Dropped by hand, so that the order is ours.
    area: ManuallyDrop<Area>,
    file: ManuallyDrop<OwnedFd>,
    name: Option<named::Name>,
}

impl Segment {
    fn let_go(&mut self) -> std::io::Result<()> {
        // Opened while we still hold it: as long as it is open, nothing new can be mistaken for it.
        let name = self.name.take();
        let early = name.as_ref().map(named::probe).transpose();
        // SAFETY: called once, by `drop` or by `close`, which forgets the segment after it.
        unsafe {
            ManuallyDrop::drop(&mut self.area);
            ManuallyDrop::drop(&mut self.file);
        }
        let Some(name) = &name else {
            return Ok(());
        };
        let probe = match early {
            Ok(probe) => probe.flatten(),
            // Now there is a descriptor to spare.
            Err(_) => named::probe(name)?,
        };
        probe.map_or(Ok(()), |probe| probe.remove_if_last(name))
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        // What cannot be removed now is swept by whoever comes next.
        let _ = self.let_go();
    }
}

impl SharedMemory {
    /// `bytes` zero bytes without a name.
    ///
    /// # Errors
    /// For 0 bytes, and without memory or a descriptor left.
    pub fn new(bytes: usize) -> Result<SharedMemory, SharedMemoryError> {
        if bytes == 0 {
            return Err(SharedMemoryError::Empty);
        }
        let no_space = |source| SharedMemoryError::NoSpace {
            wanted: bytes,
            source,
        };
        let file = memory::create("allcores-memory")
            .map_err(SharedMemoryError::os("a SharedMemory cannot be made"))?;
        memory::provide(file.as_fd(), 0, bytes as u64).map_err(no_space)?;
        let area = Area::new(file.as_fd(), bytes).map_err(no_space)?;
        Ok(SharedMemory::of(file, area, None))
    }

    /// `bytes` zero bytes under a new `name`, for programs of this user.
    ///
    /// # Errors
    /// If the name is taken or cannot be one; for 0 bytes; without memory left; where there is no `/dev/shm`.
    pub fn create(name: &str, bytes: usize) -> Result<SharedMemory, SharedMemoryError> {
        if bytes == 0 {
            return Err(SharedMemoryError::Empty);
        }
        named::create(name, bytes).map(SharedMemory::of_named)
    }

    /// As [`SharedMemory::create`], under a name that nobody has: `psm_` and eight hexadecimal digits, as Python's.
    ///
    /// # Errors
    /// As for [`SharedMemory::create`].
    pub fn create_unique(bytes: usize) -> Result<SharedMemory, SharedMemoryError> {
        if bytes == 0 {
            return Err(SharedMemoryError::Empty);
        }
        named::create_unique(bytes).map(SharedMemory::of_named)
    }

    /// The memory that a program of this user, this one or another, has under that name: one of ours, or Python's.
    ///
    /// # Errors
    /// If nobody holds one of that name; if what has the name belongs to another user, or is no plain file, symbolic links
    /// included; where there is no `/dev/shm`.
    pub fn attach(name: &str) -> Result<SharedMemory, SharedMemoryError> {
        named::attach(name, None).map(SharedMemory::of_named)
    }

    fn of(file: OwnedFd, area: Area, name: Option<named::Name>) -> SharedMemory {
        let segment = Segment {
            area: ManuallyDrop::new(area),
            file: ManuallyDrop::new(file),
            name,
        };
        SharedMemory {
            segment: Arc::new(segment),
        }
    }

    fn of_named((file, area, name): (OwnedFd, Area, named::Name)) -> SharedMemory {
        SharedMemory::of(file, area, Some(name))
    }

    /// Its name, if it has one. After [`unlink`](SharedMemory::unlink) that is what its name was.
    pub fn name(&self) -> Option<&str> {
        self.segment.name.as_ref().map(named::Name::as_str)
    }

    /// How many bytes it has: as many as were asked for, always.
    #[inline]
    pub fn size(&self) -> usize {
        self.segment.area.size()
    }

    /// Where it lies in this process, as long as there is a handle on it here; page-aligned. Others may write it at any
    /// moment.
    #[inline]
    pub fn as_ptr(&self) -> *mut u8 {
        self.segment.area.base().as_ptr()
    }

    fn check(&self, offset: usize, len: usize) -> Result<(), SharedMemoryError> {
        let size = self.size();
        match offset.checked_add(len) {
            Some(end) if end <= size => Ok(()),
            _ => Err(SharedMemoryError::OutOfBounds { offset, len, size }),
        }
    }

    /// Copies what lies at `offset` into `to`.
    ///
    /// # Errors
    /// If it does not lie inside; for a named one also if its file was cut short.
    pub fn read_at(&self, offset: usize, to: &mut [u8]) -> Result<(), SharedMemoryError> {
        self.check(offset, to.len())?;
        match &self.segment.name {
            // SAFETY: inside, and mapped as long as the handle lives; a file without a name cannot shrink.
            None => unsafe { copies::copy_out(self.as_ptr().add(offset), to) },
            Some(_) => {
                memory::read_exactly(self.as_fd(), to, offset as u64).map_err(|e| self.cut(e))?;
            }
        }
        Ok(())
    }

    /// Copies `from` to `offset`.
    ///
    /// # Errors
    /// As for [`SharedMemory::read_at`].
    pub fn write_at(&self, offset: usize, from: &[u8]) -> Result<(), SharedMemoryError> {
        self.check(offset, from.len())?;
        match &self.segment.name {
            // SAFETY: as in `read_at`.
            None => unsafe { copies::copy_in(from, self.as_ptr().add(offset)) },
            Some(_) => {
                let whole = memory::length(self.as_fd()).is_ok_and(|now| now >= self.size() as u64);
                if !whole {
                    return Err(self.cut(std::io::ErrorKind::UnexpectedEof.into()));
                }
                memory::write_exactly(self.as_fd(), from, offset as u64)
                    .map_err(|e| self.cut(e))?;
            }
        }
        Ok(())
    }

    fn cut(&self, source: std::io::Error) -> SharedMemoryError {
        if source.kind() == std::io::ErrorKind::UnexpectedEof {
            return SharedMemoryError::Truncated {
                name: self.name().unwrap_or_default().into(),
                size: self.size(),
            };
        }
        SharedMemoryError::Os {
            what: "a SharedMemory cannot be read or written",
            source,
        }
    }

    /// All of it as atomics, as many as fit: `memory.atomics::<u64>()[3].fetch_add(1, Relaxed)`.
    ///
    /// ```
    /// use allcores::multiprocessing::SharedMemory;
    /// use std::sync::atomic::Ordering::Relaxed;
    ///
    /// let memory = SharedMemory::new(100)?;
    /// let counts = memory.atomics::<u64>();
    /// assert_eq!(counts.len(), 12);
    /// counts[3].fetch_add(1, Relaxed);
    /// # Ok::<(), allcores::multiprocessing::SharedMemoryError>(())
    /// ```
    #[inline]
    pub fn atomics<A: Atom>(&self) -> &[A::Atomic] {
        // SAFETY: inside, aligned to a page, mapped as long as the handle lives; an atomic lies in memory as its number does.
        unsafe { std::slice::from_raw_parts(self.as_ptr().cast(), self.size() / size_of::<A>()) }
    }

    /// All of it in place.
    ///
    /// # Safety
    /// Nobody, in any process, may write it while the slice is used.
    #[inline]
    pub unsafe fn as_slice(&self) -> &[u8] {
        // SAFETY: mapped as long as the handle lives; the rest is the caller's word.
        unsafe { std::slice::from_raw_parts(self.as_ptr(), self.size()) }
    }

    /// All of it in place, to be written.
    ///
    /// # Safety
    /// Nobody else, in any process, may read or write it while the slice is used.
    #[inline]
    #[allow(
        clippy::mut_from_ref,
        reason = "the caller vouches that nobody else has one"
    )]
    pub unsafe fn as_slice_mut(&self) -> &mut [u8] {
        // SAFETY: mapped as long as the handle lives; the rest is the caller's word.
        unsafe { std::slice::from_raw_parts_mut(self.as_ptr(), self.size()) }
    }

    /// Lets go of this handle, as dropping it does, and says if that went wrong. With the last handle of the last process
    /// that holds it, the memory is gone, and its name.
    ///
    /// # Errors
    /// If the name cannot be taken away: whoever next creates or attaches a named one will.
    pub fn close(self) -> Result<(), SharedMemoryError> {
        let Some(segment) = Arc::into_inner(self.segment) else {
            return Ok(());
        };
        ManuallyDrop::new(segment)
            .let_go()
            .map_err(SharedMemoryError::os(
                "the name of a SharedMemory cannot be taken away",
            ))
    }

    /// Takes its name away at once. Those who hold it keep it, nobody can attach it any more, and the name is free. Does
    /// nothing if the name is gone, or stands for something else by now.
    ///
    /// # Errors
    /// If it has no name, and what the kernel reports.
    pub fn unlink(&self) -> Result<(), SharedMemoryError> {
        let name = self
            .segment
            .name
            .as_ref()
            .ok_or(SharedMemoryError::Anonymous)?;
        named::unlink(name)
    }

    /// Whether two handles are on one mapping.
    pub fn same(&self, other: &SharedMemory) -> bool {
        Arc::ptr_eq(&self.segment, &other.segment)
    }

    /// What a message brought: a descriptor of unknown origin.
    pub(crate) fn received(file: OwnedFd) -> Result<SharedMemory, SharedMemoryError> {
        let unsuitable = |reason| SharedMemoryError::Unsuitable { reason };
        let failed = || SharedMemoryError::os("what a message brought cannot be mapped");
        // First: only memory files can be sealed, and no other file system is asked anything.
        if !memory::cannot_shrink(file.as_fd()) {
            return Err(unsuitable(
                "it is no memory file that is sealed against shrinking",
            ));
        }
        let bytes = memory::length(file.as_fd()).map_err(failed())?;
        // Or touching it could fail, or take memory that its sender never had.
        if memory::resident(file.as_fd()).map_err(failed())? < bytes {
            return Err(unsuitable("it has holes"));
        }
        let size = usize::try_from(bytes).map_err(|_| unsuitable("it is too large"))?;
        if size == 0 {
            return Err(unsuitable("it is empty"));
        }
        let area = Area::new(file.as_fd(), size).map_err(failed())?;
        Ok(SharedMemory::of(file, area, None))
    }
}

impl AsFd for SharedMemory {
    /// The memory file, or the file in `/dev/shm`.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.segment.file.as_fd()
    }
}

impl fmt::Debug for SharedMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedMemory")
            .field("name", &self.name())
            .field("size", &self.size())
            .finish_non_exhaustive()
    }
}

/// Travels as a descriptor, also to strangers. One with a name takes its name along: its receiver attaches it by that, and is
/// a holder like any other; on its way the message itself holds it.
impl Serialize for SharedMemory {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let index = transfer::attach(self.as_fd()).map_err(ser::Error::custom)?;
        (self.name(), index).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SharedMemory {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<SharedMemory, D::Error> {
        let (name, index) = <(Option<String>, u32)>::deserialize(deserializer)?;
        let file = transfer::take(index).map_err(de::Error::custom)?;
        let received = match name {
            None => SharedMemory::received(file),
            // The descriptor is let go only after we hold it by the name.
            Some(name) => crate::sys::named::identity_unasked(file.as_fd())
                .map_err(SharedMemoryError::os("what a message brought is not seen"))
                .and_then(|identity| named::attach(&name, Some(identity)))
                .map(SharedMemory::of_named),
        };
        received.map_err(|error| de::Error::custom(transfer::fail(error)))
    }
}
