//! The program's code in large pieces, for a process that forks all the time.
//!
//! A forked process finds no page of its code mapped: it takes a page fault for every 64 KiB in which it executes or reads
//! something, maps the sixteen pages there, and unmaps them when it ends. For one that lives a tenth of a millisecond that is
//! a third of its life. Memory of its own is different: fork(2) copies how it is mapped, and where it lies in one large piece
//! (a huge page) that is as good as free. So code and constants are copied into such pieces, and these are put in the place
//! of the file's pages, each by one system call. They all can be read and executed, constants too, so that what the kernel kept
//! as three mappings of a file is one, which is copied with each fork and taken apart with each end: that is the layout that
//! linkers made until a few years ago.
//!
//! It costs as much memory as there is code, rounded up to 2 MiB, and tools that look up code by the file that it is mapped
//! from (`perf` when it is attached later, uprobes) see none there. `ALLCORES_NO_LARGE_CODE=1` leaves the code where it is.

use std::ffi::{CStr, c_int, c_void};
use std::ops::Range;
use std::ptr::null_mut;

/// Where programs with more code than this are concerned, some stays where it is: whatever comes late, and does not fit.
const MOST: usize = 16 << 20;
const LARGE: usize = 2 << 20;
/// On x86-64.
const PAGE: usize = 4096;

/// A part of the program that nobody writes to.
type Part = Range<usize>;

/// Lays the code of this process, which forks, into large pieces, if the system has such. Nothing else changes.
///
/// # Safety
/// No other thread may exist.
pub(crate) unsafe fn gather() {
    // Elsewhere caches of instructions would have to be thought of.
    let fit = cfg!(target_arch = "x86_64")
        && std::env::var_os("ALLCORES_NO_LARGE_CODE").is_none_or(|value| value == "0")
        && !super::standing::is_filtered();
    if fit {
        // SAFETY: the caller's word.
        unsafe { move_all(&parts()) };
    }
}

/// The parts of the executable and its libraries, as many as there is room for.
fn parts() -> Vec<Part> {
    unsafe extern "C" fn add(
        object: *mut libc::dl_phdr_info,
        _: usize,
        parts: *mut c_void,
    ) -> c_int {
        // SAFETY: libc's promise to a callback of dl_iterate_phdr(3), and the vector that was given to it below.
        let (object, parts) = unsafe { (&*object, &mut *parts.cast::<Vec<Part>>()) };
        // SAFETY: a string, or null.
        let is_file = object.dlpi_name.is_null()
            || unsafe { CStr::from_ptr(object.dlpi_name) }
                .to_bytes()
                .first()
                == Some(&b'/');
        // The executable comes first and has no name; the kernel's own object has one that is no path.
        if !is_file && !parts.is_empty() {
            return 0;
        }
        // SAFETY: the object's program headers.
        let headers =
            unsafe { std::slice::from_raw_parts(object.dlpi_phdr, object.dlpi_phnum.into()) };
        let pages = |header: &libc::Elf64_Phdr| {
            let start = object.dlpi_addr as usize + header.p_vaddr as usize;
            let end = start + header.p_memsz as usize;
            start & !(PAGE - 1)..end.next_multiple_of(PAGE)
        };
        let loaded = || headers.iter().filter(|it| it.p_type == libc::PT_LOAD);
        for header in loaded().filter(|it| it.p_flags & libc::PF_W == 0) {
            let at = pages(header);
            // One that shares a page with another one stays.
            let meets = |other: &&libc::Elf64_Phdr| {
                let other = pages(other);
                other.start < at.end && at.start < other.end
            };
            if loaded().filter(meets).count() > 1 {
                continue;
            }
            parts.push(at);
        }
        0
    }
    let mut parts = Vec::<Part>::new();
    // SAFETY: the callback takes the vector for what it is, and does not keep it.
    unsafe { libc::dl_iterate_phdr(Some(add), (&raw mut parts).cast()) };
    let mut total = 0;
    parts.retain(|part| {
        let fits = total + part.len() <= MOST;
        total += if fits { part.len() } else { 0 };
        fits
    });
    parts
}

/// # Safety
/// No other thread may exist.
unsafe fn move_all(parts: &[Part]) {
    let length: usize = parts.iter().map(Part::len).sum();
    let length = length.next_multiple_of(LARGE);
    if length == 0 {
        return;
    }
    let writable = libc::PROT_READ | libc::PROT_WRITE;
    let private = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: new memory, with room to begin at a multiple of a large piece.
    let mapped = unsafe { libc::mmap(null_mut(), length + LARGE, writable, private, -1, 0) };
    if mapped == libc::MAP_FAILED {
        return;
    }
    let mapped = mapped as usize..mapped as usize + length + LARGE;
    let room = mapped.start.next_multiple_of(LARGE)..mapped.start.next_multiple_of(LARGE) + length;
    // What is left of it in the end: the room's beginning goes to where the code is.
    let mut left = room.clone();
    // SAFETY: all of this is memory of ours that nobody knows of yet, and as long as all parts together.
    if unsafe { fill(&room, parts) } {
        for part in parts {
            let to = part.start as *mut c_void;
            let how = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
            let from = left.start as *mut c_void;
            // SAFETY: the same bytes, which can be read and executed, at the same place, in one step as far as this thread
            // can see, and there is no other. It returns to where it was called from, whatever is there by then.
            let moved = unsafe { libc::mremap(from, part.len(), part.len(), how, to) };
            if moved == libc::MAP_FAILED {
                break;
            }
            left.start += part.len();
        }
    }
    for rest in [mapped.start..room.start, left, room.end..mapped.end] {
        if !rest.is_empty() {
            // SAFETY: nobody has been told of it.
            unsafe { libc::munmap(rest.start as *mut c_void, rest.len()) };
        }
    }
}

/// Copies the parts into the room: false if the system does not give large pieces for it, or does not allow that they are
/// executed.
///
/// # Safety
/// The room is writable, nobody else's, and large enough.
unsafe fn fill(room: &Range<usize>, parts: &[Part]) -> bool {
    /// `MADV_COLLAPSE`, since Linux 6.1: huge pages now, or an error.
    const COLLAPSE: c_int = 25;
    let advise = |advice| {
        // SAFETY: advice on memory of ours, which changes no contents.
        (unsafe { libc::madvise(room.start as *mut c_void, room.len(), advice) }) == 0
    };
    if !advise(libc::MADV_HUGEPAGE) {
        return false;
    }
    let mut place = room.start;
    for part in parts {
        // SAFETY: mapped and readable, as the program header says; and room for it.
        unsafe {
            std::ptr::copy_nonoverlapping(part.start as *const u8, place as *mut u8, part.len());
        }
        place += part.len();
    }
    if !advise(COLLAPSE) {
        return false;
    }
    let protection = libc::PROT_READ | libc::PROT_EXEC;
    // SAFETY: memory of ours, which nobody writes to any more.
    (unsafe { libc::mprotect(room.start as *mut c_void, room.len(), protection) }) == 0
}
