//! The main executable in this process's memory: where its code lies, which build it is, what is left of its
//! constructors. See dl_iterate_phdr(3), elf(5), getauxval(3).

#[cfg(feature = "pre-main")]
use std::ffi::c_char;
use std::ffi::{c_int, c_void};
use std::slice;

use super::known::Known;

/// A function of `.init_array`.
#[cfg(feature = "pre-main")]
pub(crate) type Constructor = extern "C" fn(c_int, *const *const c_char, *const *const c_char);

/// The main executable, as it was loaded.
#[derive(Clone, Copy)]
pub(crate) struct Image {
    /// What is added to an address in the file.
    base: usize,
    headers: &'static [libc::Elf64_Phdr],
}

/// The main executable; `None` if libc does not know of it.
pub(crate) fn main_executable() -> Option<Image> {
    static FOUND: Known<Option<Image>> = Known::new();
    *FOUND.get_or(find_main_executable)
}

fn find_main_executable() -> Option<Image> {
    struct Search {
        headers: usize,
        found: Option<Image>,
    }
    extern "C" fn visit(
        info: *mut libc::dl_phdr_info,
        _: libc::size_t,
        search: *mut c_void,
    ) -> c_int {
        // SAFETY: libc passes a description that is valid during the call.
        let info = unsafe { &*info };
        // SAFETY: the pointer that was given to dl_iterate_phdr below.
        let search = unsafe { &mut *search.cast::<Search>() };
        if info.dlpi_phdr as usize != search.headers {
            return 0;
        }
        search.found = Some(Image {
            base: info.dlpi_addr as usize,
            // SAFETY: the main executable's headers are mapped as long as the process lives.
            headers: unsafe { slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) },
        });
        1
    }
    let mut search = Search {
        // SAFETY: a lookup in a table that the kernel made.
        headers: unsafe { libc::getauxval(libc::AT_PHDR) } as usize,
        found: None,
    };
    // SAFETY: `visit` uses `search` during the call only, and does not unwind.
    unsafe { libc::dl_iterate_phdr(Some(visit), (&raw mut search).cast()) };
    search.found
}

/// Whether the process has more rights than the user who started it: its environment is not to be believed then.
pub(crate) fn is_privileged() -> bool {
    // SAFETY: a lookup in a table that the kernel made.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

impl Image {
    /// How far into the image this code lies; `None` if it is elsewhere: in a shared library, as a rule.
    pub(crate) fn offset_of_code(&self, address: usize) -> Option<u64> {
        let offset = address.wrapping_sub(self.base) as u64;
        self.has_code_at(offset).then_some(offset)
    }

    /// The address of code at this offset; `None` if there is none.
    pub(crate) fn code_at(&self, offset: u64) -> Option<usize> {
        self.has_code_at(offset)
            .then(|| self.base.wrapping_add(offset as usize))
    }

    fn has_code_at(&self, offset: u64) -> bool {
        self.headers.iter().any(|header| {
            header.p_type == libc::PT_LOAD
                && header.p_flags & libc::PF_X != 0
                && offset.wrapping_sub(header.p_vaddr) < header.p_memsz
        })
    }

    /// What tells this build from others: the linker's build id, or where it wrote none, the layout of the segments.
    pub(crate) fn fingerprint(&self) -> &'static [u8] {
        // Of the only image there is.
        static FINGERPRINT: Known<Vec<u8>> = Known::new();
        FINGERPRINT.get_or(|| self.take_fingerprint())
    }

    fn take_fingerprint(&self) -> Vec<u8> {
        let notes = self
            .headers
            .iter()
            .filter(|header| header.p_type == libc::PT_NOTE);
        notes
            .filter_map(|header| {
                let start = self.base.wrapping_add(header.p_vaddr as usize);
                // SAFETY: the loader has mapped the segment, and it is never unmapped.
                build_id(unsafe {
                    slice::from_raw_parts(start as *const u8, header.p_memsz as usize)
                })
            })
            .next()
            .map_or_else(|| self.layout(), <[u8]>::to_vec)
    }

    fn layout(&self) -> Vec<u8> {
        let fields = self.headers.iter().flat_map(|header| {
            [
                header.p_vaddr,
                header.p_memsz,
                header.p_filesz,
                u64::from(header.p_flags),
            ]
        });
        fields.flat_map(u64::to_le_bytes).collect()
    }
}

/// The build id among the notes of one segment.
fn build_id(mut notes: &[u8]) -> Option<&[u8]> {
    const BUILD_ID: u32 = 3;
    let padded = |length: usize| length.next_multiple_of(4);
    while let Some((head, rest)) = notes.split_first_chunk::<12>() {
        let number =
            |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (name, content) = (number(0) as usize, number(4) as usize);
        let description = rest.get(padded(name)..)?.get(..content)?;
        if number(8) == BUILD_ID && rest.get(..name) == Some(b"GNU\0") {
            return Some(description);
        }
        notes = rest.get(padded(name) + padded(content)..)?;
    }
    None
}

// The borders of the executable's `.init_array`, which every linker defines for an executable; weak, so that a shared
// object links without them, and gets zeros.
#[cfg(feature = "pre-main")]
std::arch::global_asm!(
    ".pushsection .data.rel.ro.allcores_constructors,\"aw\"",
    ".balign 8",
    ".weak __init_array_start",
    ".hidden __init_array_start",
    ".weak __init_array_end",
    ".hidden __init_array_end",
    ".globl allcores_constructors",
    ".hidden allcores_constructors",
    "allcores_constructors:",
    ".quad __init_array_start",
    ".quad __init_array_end",
    ".popsection",
);

#[cfg(feature = "pre-main")]
unsafe extern "C" {
    static allcores_constructors: [usize; 2];
}

/// The constructors of this image that run after `this`. Some linkers leave holes.
#[cfg(feature = "pre-main")]
pub(crate) fn constructors_after(this: Constructor) -> impl Iterator<Item = Constructor> {
    let after = words_after(this).iter();
    after.filter_map(|word| *word)
}

#[cfg(feature = "pre-main")]
fn words_after(this: Constructor) -> &'static [Option<Constructor>] {
    // SAFETY: two words that the linker filled in.
    let [start, end] = unsafe { allcores_constructors };
    if start == 0 || end <= start {
        return &[];
    }
    let count = (end - start) / size_of::<Constructor>();
    // SAFETY: the linker's table of constructors, which is never unmapped; this process runs through it now or has done
    // so, hence every word in it is a function or null.
    let all = unsafe { slice::from_raw_parts(start as *const Option<Constructor>, count) };
    let is_this = |word: &Option<Constructor>| word.is_some_and(|it| it as usize == this as usize);
    match all.iter().position(is_this) {
        Some(place) => &all[place + 1..],
        None => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executable_knows_its_own_code() {
        let image = main_executable().unwrap();
        let here = the_executable_knows_its_own_code as fn() as usize;
        let offset = image.offset_of_code(here).unwrap();
        assert_eq!(image.code_at(offset), Some(here));
        assert_eq!(
            image.offset_of_code(libc::getpid as *const () as usize),
            None
        );
        assert_eq!(image.offset_of_code(&raw const image as usize), None);
        assert_eq!(image.code_at(u64::MAX), None);
        assert!(!image.fingerprint().is_empty());
    }

    #[test]
    fn a_build_id_is_found_among_other_notes() {
        let mut notes = Vec::new();
        for (name, kind, content) in [
            (&b"GNU\0"[..], 1u32, &b"abi!xx"[..]),
            (b"stapsdt\0", 3, b"probe"),
            (b"GNU\0", 3, b"0123456789"),
        ] {
            notes.extend_from_slice(&(name.len() as u32).to_le_bytes());
            notes.extend_from_slice(&(content.len() as u32).to_le_bytes());
            notes.extend_from_slice(&kind.to_le_bytes());
            notes.extend_from_slice(name);
            notes.extend_from_slice(content);
            notes.resize(notes.len().next_multiple_of(4), 0);
        }
        assert_eq!(build_id(&notes), Some(&b"0123456789"[..]));
        for cut in 0..notes.len() - 2 {
            assert_eq!(build_id(&notes[..cut]), None);
        }
    }
}
