//! Memory without a name.

use std::os::fd::AsFd;
use std::sync::atomic::Ordering::*;

use allcores::multiprocessing::{Pipe, Process, SharedMemory, SharedMemoryError, SimplexPipe};

use crate::util::turn;

#[test]
fn it_is_zero_and_as_large_as_asked_for() {
    for size in [1, 100, 4096, 4097, 300_000] {
        let memory = SharedMemory::new(size).unwrap();
        assert_eq!(memory.size(), size);
        assert_eq!(memory.name(), None);
        let mut all = vec![7; size];
        memory.read_at(0, &mut all).unwrap();
        assert!(all.iter().all(|byte| *byte == 0));
    }
}

#[test]
fn copies_reach_every_place_and_nothing_else() {
    const SIZE: usize = 64;
    let memory = SharedMemory::new(SIZE).unwrap();
    for offset in 0..SIZE {
        for len in 0..=(SIZE - offset).min(30) {
            memory.write_at(0, &[0xAA; SIZE]).unwrap();
            let written: Vec<u8> = (0..len as u8).collect();
            memory.write_at(offset, &written).unwrap();
            let mut expected = [0xAA; SIZE];
            expected[offset..offset + len].copy_from_slice(&written);
            let mut all = [0; SIZE];
            memory.read_at(0, &mut all).unwrap();
            assert_eq!(all, expected);
            let mut part = vec![0; len];
            memory.read_at(offset, &mut part).unwrap();
            assert_eq!(part, written);
        }
    }
    for (offset, len) in [(SIZE, 1), (0, SIZE + 1), (SIZE + 1, 0), (usize::MAX, 2)] {
        let refused = memory.read_at(offset, &mut vec![0; len]).unwrap_err();
        assert!(
            matches!(refused, SharedMemoryError::OutOfBounds { size: SIZE, .. }),
            "{refused}"
        );
        assert!(memory.write_at(offset, &vec![0; len]).is_err());
    }
}

fn add_and_write(memory: SharedMemory) {
    for _ in 0..1_000 {
        memory.atomics::<u32>()[5].fetch_add(1, Relaxed);
    }
    memory.write_at(1000, b"written there").unwrap();
}

#[test]
fn processes_share_it() {
    let _turn = turn();
    let memory = SharedMemory::new(2000).unwrap();
    assert_eq!(memory.atomics::<u32>().len(), 500);
    let children: Vec<_> = (0..2)
        .map(|_| Process::new(add_and_write, memory.clone()).start().unwrap())
        .collect();
    children.iter().for_each(|child| child.join().unwrap());
    assert_eq!(memory.atomics::<u32>()[5].load(Relaxed), 2_000);
    // SAFETY: nobody writes any more.
    assert_eq!(&unsafe { memory.as_slice() }[1000..1013], b"written there");
}

#[test]
fn a_message_keeps_it() {
    let (a, b) = Pipe::<SharedMemory, ()>().unwrap();
    let memory = SharedMemory::new(10).unwrap();
    memory.write_at(3, b"kept").unwrap();
    a.send(&memory).unwrap();
    memory.close().unwrap();
    let memory = b.recv().unwrap();
    let mut kept = [0; 4];
    memory.read_at(3, &mut kept).unwrap();
    assert_eq!(&kept, b"kept");
}

#[test]
fn a_one_way_pipe_refuses_it() {
    let (_reader, writer) = SimplexPipe::<SharedMemory>().unwrap();
    let refused = writer.send(&SharedMemory::new(1).unwrap()).unwrap_err();
    assert!(refused.to_string().contains("duplex Pipe()"), "{refused}");
}

#[test]
fn it_cannot_be_cut_short() {
    let memory = SharedMemory::new(10_000).unwrap();
    let refused = rustix::fs::ftruncate(memory.as_fd(), 10).unwrap_err();
    assert_eq!(refused, rustix::io::Errno::PERM);
}

#[test]
fn no_room_is_an_error() {
    let _turn = turn();
    assert!(matches!(
        SharedMemory::new(0),
        Err(SharedMemoryError::Empty)
    ));
    // More than any machine has: the kernel would not refuse, but look for somebody to kill.
    for size in [1 << 50, isize::MAX as usize, usize::MAX] {
        let refused = SharedMemory::new(size).unwrap_err();
        assert!(
            matches!(refused, SharedMemoryError::NoSpace { wanted, .. } if wanted == size),
            "{refused}"
        );
    }
    let child = Process::new(limited, ()).start().unwrap();
    child.join().unwrap();
}

/// A limit on files holds for memory files as well; by default its signal kills.
fn limited(_: ()) {
    let limit = libc::rlimit {
        rlim_cur: 100_000,
        rlim_max: 100_000,
    };
    // SAFETY: a valid limit.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &limit) }, 0);
    let fits = SharedMemory::new(100_000).unwrap();
    fits.write_at(99_999, &[1]).unwrap();
    let refused = SharedMemory::new(100_001).unwrap_err().to_string();
    assert!(refused.contains("ulimit -f"), "{refused}");
    let refused = SharedMemory::create_unique(100_001).unwrap_err();
    assert!(
        matches!(refused, SharedMemoryError::NoSpace { .. }),
        "{refused}"
    );
}
