//! The memory of large arrays. Alone in its process: the arena belongs to all of it, and every other test would show.

use allcores::multiprocessing::Array;
use allcores::shm::resident;

#[test]
fn large_arrays_come_zeroed_and_give_their_memory_back() {
    const LEN: usize = 5 << 20;
    drop(Array::<u64>::new(LEN).unwrap());
    let before = resident().unwrap();
    for _ in 0..3 {
        let array = Array::<u64>::new(LEN).unwrap();
        let mut guard = array.acquire().unwrap();
        assert_eq!(guard.len(), LEN);
        assert!(guard.iter().all(|n| *n == 0));
        guard.fill(u64::MAX);
        drop(guard);
        assert!(resident().unwrap() - before >= 8 * LEN as u64 - 8192);
        drop(array);
        assert!(resident().unwrap() <= before + 4 * 4096);
    }
}
