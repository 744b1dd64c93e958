//! An arena: a memfd that a tree of processes shares, mapped once in each and never unmapped.

use std::mem::offset_of;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering::*};

use super::ShmError;
use super::handle::OpenCells;
use super::layout::{self, CELLS_START, Guarded, Header, LINE, MAGIC, Participant, SLOTS, VERSION};
use crate::registry::Membership;
use crate::sync::Scope;
use crate::sys::identity::SCOPES;
use crate::sys::local::{Local, LocalGuard};
use crate::sys::memory::{self, Mapping};
use crate::sys::random;
use crate::sys::robust::Robust;

/// How much address space a new arena reserves in each process; less where limits forbid it.
const RESERVE: usize = 16 << 30;
const LEAST_RESERVE: usize = 64 << 20;

/// One mapped arena. Leaked: it lives as long as the process.
pub(crate) struct Arena {
    mapping: Mapping,
    scope: Scope,
    /// `fork generation << 32 | incarnation` of this process here: read without a lock, right after any fork.
    pub(crate) joined: AtomicU64,
    /// This process's part in it.
    pub(crate) membership: Local<Membership>,
    /// The cells that this process holds.
    pub(crate) open: Local<OpenCells>,
    /// How long the file was when we looked.
    length: AtomicU64,
}

/// The arenas of this process by scope; place 0 stands for private memory and stays empty.
static ARENAS: [AtomicPtr<Arena>; SCOPES] = [const { AtomicPtr::new(null_mut()) }; SCOPES];
/// The arena of the tree of processes that this one belongs to.
static COMMON: Local<Common> = Local::new(Common {
    arena: None,
    inherited: None,
});

/// Held by whoever maps an arena.
static ENTERING: Local<()> = Local::new(());

#[derive(Default)]
struct Common {
    arena: Option<&'static Arena>,
    /// The parent's arena, not mapped yet.
    inherited: Option<OwnedFd>,
}

/// The arena mapped at `scope`.
#[inline]
pub(crate) fn at(scope: Scope) -> &'static Arena {
    let arena = ARENAS[scope.index() % SCOPES].load(Acquire);
    // SAFETY: places are filled once, with leaked boxes, before any scope that names them is made.
    unsafe { arena.as_ref() }.expect("a scope names a mapped arena")
}

/// All arenas of this process.
pub(crate) fn all() -> impl Iterator<Item = &'static Arena> {
    // SAFETY: as in `at`.
    ARENAS
        .iter()
        .filter_map(|place| unsafe { place.load(Acquire).as_ref() })
}

/// The scope of the cell whose contents begin at `address`.
///
/// # Panics
/// If no arena is mapped there.
pub(crate) fn scope_of(address: *const ()) -> Scope {
    let arena = all().find(|arena| arena.line_of(address).is_some());
    arena.expect("a cell lies in a mapped arena").scope()
}

/// The common arena, created or mapped on first use.
pub(crate) fn common() -> Result<&'static Arena, ShmError> {
    let mut common = COMMON.lock();
    if let Some(arena) = common.arena {
        return Ok(arena);
    }
    let arena = match common.inherited.take() {
        Some(descriptor) => enter(&ENTERING.lock(), || map(descriptor))?,
        None => create()?,
    };
    common.arena = Some(arena);
    Ok(arena)
}

/// Whether this is the common arena.
pub(crate) fn is_common(arena: &Arena) -> bool {
    COMMON
        .lock()
        .arena
        .is_some_and(|common| std::ptr::eq(common, arena))
}

/// A descriptor of the common arena for a child of this process; the arena is made if there is none yet, so that the
/// whole tree has one.
pub(crate) fn descriptor_for_child() -> Option<OwnedFd> {
    let mut common = COMMON.lock();
    if common.arena.is_none() && common.inherited.is_none() {
        common.arena = create().ok();
    }
    let descriptor = match (&common.arena, &common.inherited) {
        (Some(arena), _) => arena.as_fd(),
        (None, Some(descriptor)) => descriptor.as_fd(),
        (None, None) => return None,
    };
    descriptor.try_clone_to_owned().ok()
}

/// Makes the parent's arena the common one. For a child that has used no shared memory yet.
pub(crate) fn adopt_from_parent(descriptor: OwnedFd) {
    let mut common = COMMON.lock();
    if common.arena.is_none() {
        common.inherited = Some(descriptor);
    }
}

/// Has this process know the arena in a file that a relative handed over: as its common one if it has none yet.
pub(crate) fn meet(descriptor: OwnedFd) -> Result<(), ShmError> {
    let id = look_at(descriptor.as_fd())?.id;
    {
        let mut common = COMMON.lock();
        if common.arena.is_none() && common.inherited.is_none() {
            common.inherited = Some(descriptor);
            return Ok(());
        }
    }
    by_id(id, Some(descriptor)).map(|_| ())
}

/// The arena with this id, mapping it from `descriptor` if this process does not have it yet.
pub(crate) fn by_id(id: [u8; 16], descriptor: Option<OwnedFd>) -> Result<&'static Arena, ShmError> {
    // The inherited one may be meant.
    let inherited = COMMON.lock().inherited.is_some();
    if inherited {
        common()?;
    }
    // One at a time from here on, so that two messages with the same arena do not map it twice.
    let entering = ENTERING.lock();
    if let Some(arena) = all().find(|arena| arena.header().id == id) {
        return Ok(arena);
    }
    let descriptor = descriptor.ok_or(ShmError::NotAnArena {
        reason: "this process has no arena of that id, and the message carried no descriptor for it",
    })?;
    if look_at(descriptor.as_fd())?.id != id {
        return Err(ShmError::NotAnArena {
            reason: "the descriptor and the handle name different arenas",
        });
    }
    enter(&entering, || map(descriptor))
}

/// The common arena once more, at another place and in another scope.
pub(super) fn map_again() -> Result<&'static Arena, ShmError> {
    let descriptor = common()?.as_fd().try_clone_to_owned()?;
    enter(&ENTERING.lock(), || map(descriptor))
}

/// A new arena.
pub(super) fn create() -> Result<&'static Arena, ShmError> {
    enter(&ENTERING.lock(), make)
}

fn make() -> Result<Mapping, ShmError> {
    let file = memory::create("allcores")?;
    memory::lengthen(file.as_fd(), CELLS_START as u64)?;
    let no_space = |source| ShmError::NoSpace {
        wanted: 4096,
        source,
    };
    memory::provide(file.as_fd(), 0, 4096).map_err(no_space)?;
    let mut reserve = RESERVE;
    let mapping = loop {
        match Mapping::new(file.try_clone()?, reserve) {
            Ok(mapping) => break mapping,
            Err(_) if reserve > LEAST_RESERVE => reserve /= 2,
            Err(error) => return Err(error.into()),
        }
    };
    let mut id = [0; 16];
    random::fill(&mut id)?;
    let header = mapping.base().as_ptr().cast::<Header>();
    // SAFETY: the page was provided and mapped just now, is zero, aligned, and nobody else knows of it.
    unsafe {
        (*header).magic = MAGIC;
        (*header).version = VERSION;
        (*header).slots = SLOTS as u32;
        (*header).id = id;
        (*header).reserve = reserve as u64;
        (*header).provided.store(CELLS_START as u64, Relaxed);
        (*header).unused.store((CELLS_START / LINE) as u64, Relaxed);
        (*header).guard.mutex.init();
    }
    Ok(mapping)
}

/// What the first page of a file says, of an arena that another process made.
struct Look {
    id: [u8; 16],
    reserve: usize,
}

/// Looks closely at a file that is said to be an arena. Nothing is mapped for that, since mappings are for ever.
fn look_at(file: BorrowedFd<'_>) -> Result<Look, ShmError> {
    let broken = |reason| Err(ShmError::NotAnArena { reason });
    if !memory::cannot_shrink(file) {
        return broken("the file is not sealed against shrinking");
    }
    let length = memory::length(file)?;
    if length < CELLS_START as u64 {
        return broken("the file is too short");
    }
    let mut page = [0; 4096];
    memory::read_exactly(file, &mut page, 0)?;
    let four = |at| u32::from_ne_bytes(std::array::from_fn(|n| page[at + n]));
    let eight = |at| u64::from_ne_bytes(std::array::from_fn(|n| page[at + n]));
    if eight(offset_of!(Header, magic)) != MAGIC {
        return broken("it does not begin as one");
    }
    let slots = four(offset_of!(Header, slots));
    if four(offset_of!(Header, version)) != VERSION || slots != SLOTS as u32 {
        return broken("it has another layout");
    }
    let reserve = eight(offset_of!(Header, reserve));
    if !(LEAST_RESERVE as u64..=RESERVE as u64).contains(&reserve) {
        return broken("its size makes no sense");
    }
    let provided = eight(offset_of!(Header, provided));
    if provided > length {
        return broken("it says to be longer than its file");
    }
    let unused = eight(offset_of!(Header, unused));
    if !((CELLS_START / LINE) as u64..=provided / LINE as u64).contains(&unused) {
        return broken("its cells lie elsewhere");
    }
    let guard = offset_of!(Header, guard) + offset_of!(Guarded, mutex);
    if !Robust::is_one(&page[guard..guard + size_of::<Robust>()]) {
        return broken("its guard is no lock");
    }
    Ok(Look {
        id: std::array::from_fn(|n| page[offset_of!(Header, id) + n]),
        reserve: reserve as usize,
    })
}

/// Maps an arena that another process made, after looking at it closely.
fn map(descriptor: OwnedFd) -> Result<Mapping, ShmError> {
    let reserve = look_at(descriptor.as_fd())?.reserve;
    Ok(Mapping::new(descriptor, reserve)?)
}

/// Gives a mapping a scope. Asks for it only once there is a place, since a mapping is never undone.
fn enter(
    _one_at_a_time: &LocalGuard<'_, ()>,
    make: impl FnOnce() -> Result<Mapping, ShmError>,
) -> Result<&'static Arena, ShmError> {
    let free = ARENAS
        .iter()
        .enumerate()
        .skip(1)
        .find(|(_, place)| place.load(Relaxed).is_null());
    let Some((index, place)) = free else {
        return Err(ShmError::TooManyArenas { limit: SCOPES - 1 });
    };
    let arena = Box::new(Arena {
        mapping: make()?,
        scope: Scope::arena(index as u8),
        joined: AtomicU64::new(0),
        membership: Local::new(Membership::default()),
        open: Local::new(OpenCells::default()),
        length: AtomicU64::new(0),
    });
    let arena = Box::leak(arena);
    place.store(arena, Release);
    Ok(arena)
}

impl Arena {
    #[inline]
    pub(crate) fn scope(&self) -> Scope {
        self.scope
    }

    #[inline]
    pub(crate) fn header(&self) -> &'static Header {
        // SAFETY: mapped for ever, at least this long, and written as a Header by `create`.
        unsafe { self.mapping.base().cast::<Header>().as_ref() }
    }

    /// What lies at `offset`, which the caller has checked against what is provided.
    ///
    /// # Safety
    /// `offset` must be aligned for `T` and lie, with `T`, in the provided part or in a participant's pages, and every
    /// pattern of bytes there must be a valid `T`.
    #[inline]
    pub(crate) unsafe fn place<T>(&self, offset: usize) -> &'static T {
        debug_assert!(offset + size_of::<T>() <= self.mapping.reserve());
        // SAFETY: inside the mapping, which is never undone; the rest is the caller's word.
        unsafe { &*self.mapping.base().as_ptr().add(offset).cast::<T>() }
    }

    /// The address of an `offset`.
    ///
    /// # Safety
    /// It must lie inside the mapping.
    #[inline]
    pub(crate) unsafe fn address(&self, offset: usize) -> NonNull<u8> {
        // SAFETY: the caller's word.
        unsafe { self.mapping.base().add(offset) }
    }

    /// The participant in a slot; the slot is masked into range.
    #[inline]
    pub(crate) fn participant(&self, slot: usize) -> &'static Participant {
        // SAFETY: a slot in range has a fixed, aligned place below CELLS_START, which the file always covers.
        unsafe { self.place(layout::participant(slot % SLOTS)) }
    }

    /// The bell that `slot` rings for `hearer`.
    #[inline]
    pub(crate) fn bell(&self, slot: usize, hearer: usize) -> &'static Robust {
        assert!(slot < layout::LOW_SLOTS && hearer < layout::LOW_SLOTS);
        // SAFETY: as for `participant`.
        unsafe { self.place(layout::bell(slot, hearer)) }
    }

    /// How many cells with contents of that size fit into it, as large as it is now.
    pub(crate) fn room_for(&self, contents: usize) -> usize {
        let end = self.header().provided.load(Acquire);
        let end = match self.covers(0, end as usize) {
            true => end,
            // It says more of itself than is so.
            false => self.length.load(Relaxed).min(self.reserve() as u64),
        };
        end as usize / (contents + LINE)
    }

    /// Whether the `bytes` at `offset` have memory behind them.
    pub(crate) fn covers(&self, offset: usize, bytes: usize) -> bool {
        let end = self
            .header()
            .provided
            .load(Acquire)
            .min(self.mapping.reserve() as u64);
        let last = offset.saturating_add(bytes) as u64;
        last <= end && (last <= self.length.load(Relaxed) || self.reaches(last))
    }

    /// Whether the file is so long. What the arena says of itself is believed as far as that.
    #[cold]
    fn reaches(&self, end: u64) -> bool {
        let length = memory::length(self.as_fd()).unwrap_or(0);
        // It cannot shrink.
        self.length.fetch_max(length, Relaxed);
        end <= length
    }

    /// The line that begins at this address.
    pub(crate) fn line_of(&self, address: *const ()) -> Option<u32> {
        let offset = address
            .addr()
            .checked_sub(self.mapping.base().as_ptr().addr())?;
        (offset < self.mapping.reserve() && offset.is_multiple_of(LINE))
            .then_some((offset / LINE) as u32)
    }

    pub(crate) fn reserve(&self) -> usize {
        self.mapping.reserve()
    }
}

impl AsFd for Arena {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.mapping.as_fd()
    }
}
