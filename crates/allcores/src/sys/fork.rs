//! What a forked child must forget. Only forks made through libc are seen: a raw `clone` is not.

use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

static GENERATION: AtomicU32 = AtomicU32::new(0);
static WATCH: Once = Once::new();

/// How many forks lie between this process and the one that started the program: anything that belongs to one process
/// remembers the generation it was made in.
#[inline]
pub(crate) fn generation() -> u32 {
    GENERATION.load(Relaxed)
}

/// Asks libc to tell us of forks, once.
pub(crate) fn watch() {
    WATCH.call_once(|| {
        // SAFETY: the handler is a plain function that touches atomics and thread locals without destructors only, so
        // it may run in the child of a multi-threaded process.
        unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    });
}

extern "C" fn in_child() {
    GENERATION.fetch_add(1, Relaxed);
    super::identity::after_fork();
}
