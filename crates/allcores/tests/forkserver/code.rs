//! Where its children find their code.

use allcores::multiprocessing::process::ProcessError;
use allcores::multiprocessing::{self as mp, Process};

use crate::util::{alone, forked};

/// Whether a fork server can have its code in large pieces, as far as the system goes: without a word from the product.
fn gives_large_pieces(length: usize) -> bool {
    /// `MADV_COLLAPSE`, since Linux 6.1.
    const COLLAPSE: i32 = 25;
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let free = status.lines().any(|line| line == "Seccomp:\t0");
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let writable = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: new memory, which is written to within its bounds, advised on, and given back.
    unsafe {
        let memory = libc::mmap(std::ptr::null_mut(), length, writable, flags, -1, 0);
        assert_ne!(memory, libc::MAP_FAILED);
        let start = memory.align_offset(2 << 20);
        let (memory_inside, inside) = (memory.byte_add(start), length - (2 << 20));
        let given = libc::madvise(memory_inside, inside, libc::MADV_HUGEPAGE) == 0 && {
            memory_inside.cast::<u8>().write_bytes(1, inside);
            libc::madvise(memory_inside, inside, COLLAPSE) == 0
                && libc::mprotect(memory_inside, inside, libc::PROT_READ | libc::PROT_EXEC) == 0
        };
        libc::munmap(memory, length);
        cfg!(target_arch = "x86_64") && free && given
    }
}

#[test]
fn children_find_their_code_in_large_pieces_and_panic_as_ever() {
    /// Whether the code of this function is mapped from a file.
    fn is_from_file(_: ()) -> bool {
        let here = is_from_file as *const () as usize;
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let line = maps.lines().find(|line| {
            let (start, rest) = line.split_once('-').unwrap();
            let end = rest.split_once(' ').unwrap().0;
            let [start, end] = [start, end].map(|at| usize::from_str_radix(at, 16).unwrap());
            (start..end).contains(&here)
        });
        line.unwrap().contains('/')
    }
    fn test(_: ()) {
        let start = || forked(is_from_file, ()).unwrap().result().unwrap();
        assert!(start(), "the first ones have no time for that");
        // More of them than the code takes, so that some are left when the server's turn comes.
        if gives_large_pieces(16 << 20) {
            assert!((0..10).any(|_| !start()), "the code lies where it lay");
        } else {
            eprintln!("SKIPPED in part: this system gives no large pieces of memory for code");
        }
        let p: Process<()> = forked(|word: String| panic!("{word}"), "alas".into()).unwrap();
        match p.result().unwrap_err() {
            ProcessError::Panicked {
                message, location, ..
            } => {
                assert_eq!(message, "alas");
                assert!(location.unwrap().file.ends_with("forkserver/code.rs"));
            }
            other => panic!("{other:?}"),
        }
        // SAFETY: this process has no other thread that looks at the environment.
        unsafe { std::env::set_var("ALLCORES_NO_LARGE_CODE", "1") };
        mp::set_forkserver_preload(|| ()).unwrap();
        assert!((0..10).all(|_| start()), "it was to stay where it is");
    }
    alone(test);
}
