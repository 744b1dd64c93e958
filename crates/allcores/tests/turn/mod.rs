//! Turns, for tests that count what lies in the common arena, which belongs to their whole process.

use std::sync::{Mutex, MutexGuard, Once, PoisonError, mpsc};

use allcores::multiprocessing::Lock;

/// Waits for the caller's turn. Until it is over, nothing changes in the common arena but by what the caller does.
///
/// Threads that take locks in the arena have a word each there, which stays when they end and is used again. The caller's own
/// is made before it counts. And when the last thread that has one ends, the library starts a thread that has one for
/// good; a test's thread ends some time after its turn, in which the next one counts. So here is another that never ends.
pub(crate) fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    static STAYS: Once = Once::new();
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    STAYS.call_once(|| {
        let (ready, is_ready) = mpsc::channel();
        std::thread::spawn(move || {
            take_part();
            ready.send(()).unwrap();
            loop {
                std::thread::park();
            }
        });
        is_ready.recv().unwrap();
    });
    take_part();
    turn
}

/// The calling thread has a word in the common arena from now on: it has taken a lock there.
fn take_part() {
    drop(Lock::new(()).unwrap().acquire().unwrap());
}
