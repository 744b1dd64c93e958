//! Handles on their way in a message.

use super::*;

/// Bytes on their way between two processes, apart from what is tested.
struct Bytes {
    length: AtomicU32,
    bytes: [AtomicU32; 512],
}

impl Bytes {
    fn put(&self, bytes: &[u8]) {
        for (place, byte) in self.bytes.iter().zip(bytes) {
            place.store(u32::from(*byte), SeqCst);
        }
        self.length.store(bytes.len() as u32, SeqCst);
    }

    fn take(&self) -> Option<Vec<u8>> {
        let length = self.length.swap(0, SeqCst) as usize;
        let bytes = &self.bytes[..length];
        let bytes = bytes.iter().map(|byte| byte.load(SeqCst) as u8).collect();
        (length > 0).then_some(bytes)
    }
}

/// What its receiver can get at is there for it. What was packed and could not be handed on stays: nobody can know that it is
/// lost. So at most one pin is left by each that was killed, and no cell without a pin.
///
/// Seen red: `guarded.settle` that lets go of nothing.
pub(super) fn sender_killed_while_it_packs() {
    let before = settled();
    // SAFETY: atomics.
    let bytes = unsafe { page::<Bytes>() };
    let mut lost = 0;
    let mut once = |limit: u64| {
        let send = || bytes.put(&face::pack(&a_lock()).unwrap().sent());
        let (sender, steps) = led(|| drop(a_lock()), send, limit);
        sender.kill();
        if let Some(bytes) = bytes.take() {
            let lock: Lock<u8> = face::unpack(&bytes).unwrap();
            assert_eq!(*lock.acquire().unwrap(), INHERITED);
        }
        let (cells, pins) = settled();
        assert!(
            pins <= before.1 + lost + 1,
            "killed at instruction {steps}: {pins} pins"
        );
        lost = pins - before.1;
        assert_eq!(cells, before.0 + lost, "killed at instruction {steps}");
        steps
    };
    let length = once(u64::MAX);
    for point in points(length, 100) {
        once(point);
    }
    println!("{lost} were lost on their way");
}

/// Killed before it has it, it leaves it to be unpacked by another; after that, it is gone with it.
///
/// Seen red: `unpack` that leaves the pin.
pub(super) fn receiver_killed_while_it_unpacks() {
    let before = settled();
    let once = |limit: u64| {
        let sent = face::pack(&a_lock()).unwrap().sent();
        let receive = || {
            let lock: Lock<u8> = face::unpack(&sent).unwrap();
            std::mem::forget(lock);
        };
        let (receiver, steps) = led(|| drop(a_lock()), receive, limit);
        receiver.kill();
        let (cells, pins) = settled();
        let is_there = pins > before.1;
        assert_eq!(
            cells - before.0,
            pins - before.1,
            "killed at instruction {steps}"
        );
        match face::unpack::<Lock<u8>>(&sent) {
            Ok(lock) => {
                assert!(is_there, "killed at instruction {steps}");
                assert_eq!(*lock.acquire().unwrap(), INHERITED);
            }
            Err(_) => assert!(!is_there, "killed at instruction {steps}"),
        }
        assert_eq!(settled(), before, "killed at instruction {steps}");
        steps
    };
    let length = once(u64::MAX);
    for point in points(length, 100) {
        once(point);
    }
}
