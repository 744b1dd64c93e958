//! How long to look at a held lock before sleeping: adaptively, and never where spinning cannot help.

use super::door::spin_loop;

/// A budget of looks at a word.
pub(crate) struct Spin {
    left: u32,
    #[cfg(not(allcores_loom))]
    given: u32,
}

#[cfg(not(allcores_loom))]
mod budget {
    use std::cell::Cell;
    use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

    /// The most looks; some 2 µs.
    pub(super) const MOST: u32 = 60;
    const LEAST: u32 = 4;

    thread_local! {
        static BUDGET: Cell<u32> = const { Cell::new(MOST) };
    }

    /// With one CPU whoever holds the lock cannot run while we look.
    ///
    /// Not what this thread may run on, which says nothing of the holder: in a program that pins each thread to a CPU of
    /// its own, looking helps. And not std's available_parallelism, which allocates: we may be in a signal handler.
    fn alone() -> bool {
        static CPUS: AtomicU8 = AtomicU8::new(0);
        match CPUS.load(Relaxed) {
            0 => {
                let one = crate::sys::cpus_online() == 1;
                CPUS.store(if one { 1 } else { 2 }, Relaxed);
                one
            }
            cpus => cpus == 1,
        }
    }

    pub(super) fn now() -> u32 {
        if alone() { 0 } else { BUDGET.get() }
    }

    pub(super) fn was_fruitless() {
        BUDGET.set((BUDGET.get() / 2).max(LEAST));
    }

    pub(super) fn bore_fruit() {
        BUDGET.set((BUDGET.get() * 2).min(MOST));
    }
}

impl Spin {
    #[cfg(not(allcores_loom))]
    pub(crate) fn new() -> Spin {
        let left = budget::now();
        Spin { left, given: left }
    }

    #[cfg(allcores_loom)]
    pub(crate) fn new() -> Spin {
        Spin { left: 0 }
    }

    /// Whether to look once more.
    #[inline]
    pub(crate) fn once_more(&mut self) -> bool {
        if self.left == 0 {
            #[cfg(not(allcores_loom))]
            if std::mem::take(&mut self.given) != 0 {
                budget::was_fruitless();
            }
            return false;
        }
        self.left -= 1;
        spin_loop();
        true
    }

    /// The wait ended while looking.
    #[inline]
    pub(crate) fn ended(&self) {
        #[cfg(not(allcores_loom))]
        if self.left != self.given && self.given != 0 {
            budget::bore_fruit();
        }
    }
}
