//! Both faces of each primitive, as one trait.

use std::sync::Arc;
use std::time::Duration;

use super::Memory;
use allcores::{multiprocessing as mp, threading};

/// A Lock or RLock without data.
pub(crate) trait AnyLock: Send + Sync {
    /// The same lock, as the other party sees it.
    fn elsewhere(&self, memory: Memory) -> Box<dyn AnyLock>;
    fn hold(&self);
    fn try_hold(&self) -> bool;
    fn hold_timeout(&self, timeout: Duration) -> bool;
    /// Whether it could be released.
    fn release(&self) -> bool;
    fn locked(&self) -> bool;
}

pub(crate) trait AnySemaphore: Send + Sync {
    fn elsewhere(&self, memory: Memory) -> Box<dyn AnySemaphore>;
    fn acquire(&self);
    fn try_acquire(&self) -> bool;
    fn acquire_timeout(&self, timeout: Duration) -> bool;
    fn release(&self) -> bool;
    fn release_many(&self, permits: u32) -> bool;
    fn value(&self) -> u32;
}

pub(crate) trait AnyEvent: Send + Sync {
    fn elsewhere(&self, memory: Memory) -> Box<dyn AnyEvent>;
    fn set(&self);
    fn clear(&self);
    fn is_set(&self) -> bool;
    fn wait(&self);
    fn wait_timeout(&self, timeout: Duration) -> bool;
}

/// A condition, its lock, and the number that the lock guards.
pub(crate) trait AnyMonitor: Send + Sync {
    fn elsewhere(&self, memory: Memory) -> Box<dyn AnyMonitor>;
    /// Waits with the lock held; whether there was a notification.
    fn wait_timeout(&self, timeout: Duration) -> bool;
    /// Waits until the number is at least `least`; whether that came.
    fn wait_for(&self, least: u64, timeout: Duration) -> bool;
    /// Adds to the number and notifies `waiters` (all if `None`); how many that were.
    fn change(&self, by: u64, waiters: Option<u32>) -> u32;
    fn number(&self) -> u64;
}

pub(crate) trait AnyBarrier: Send + Sync {
    fn elsewhere(&self, memory: Memory) -> Box<dyn AnyBarrier>;
    /// The party's index, or `None` if the barrier broke.
    fn wait(&self) -> Option<u32>;
    fn wait_timeout(&self, timeout: Duration) -> Option<u32>;
    fn abort(&self);
    fn reset(&self);
    fn broken(&self) -> bool;
    fn n_waiting(&self) -> u32;
}

/// The other party's handle: the same, or one through the other mapping.
macro_rules! shared_elsewhere {
    ($trait:ident) => {
        fn elsewhere(&self, memory: Memory) -> Box<dyn $trait> {
            match memory {
                Memory::Mapped(scope) => Box::new(self.through(scope).unwrap()),
                _ => Box::new(self.clone()),
            }
        }
    };
}
macro_rules! private_elsewhere {
    ($trait:ident) => {
        fn elsewhere(&self, _: Memory) -> Box<dyn $trait> {
            Box::new(self.clone())
        }
    };
}

macro_rules! locks {
    ($($name:ident),*) => {$(
        impl AnyLock for Arc<threading::$name> {
            private_elsewhere!(AnyLock);
            fn hold(&self) {
                threading::$name::hold(self);
            }
            fn try_hold(&self) -> bool {
                threading::$name::try_hold(self)
            }
            fn hold_timeout(&self, timeout: Duration) -> bool {
                threading::$name::hold_timeout(self, timeout)
            }
            fn release(&self) -> bool {
                threading::$name::release(self).is_ok()
            }
            fn locked(&self) -> bool {
                threading::$name::locked(self)
            }
        }

        impl AnyLock for mp::$name {
            shared_elsewhere!(AnyLock);
            fn hold(&self) {
                mp::$name::hold(self).unwrap();
            }
            fn try_hold(&self) -> bool {
                mp::$name::try_hold(self).unwrap()
            }
            fn hold_timeout(&self, timeout: Duration) -> bool {
                mp::$name::hold_timeout(self, timeout).unwrap()
            }
            fn release(&self) -> bool {
                mp::$name::release(self).is_ok()
            }
            fn locked(&self) -> bool {
                mp::$name::locked(self)
            }
        }
    )*};
}
locks!(Lock, RLock);

macro_rules! semaphore {
    ($type:ty, $elsewhere:item) => {
        impl AnySemaphore for $type {
            $elsewhere
            fn acquire(&self) {
                (**self).acquire();
            }
            fn try_acquire(&self) -> bool {
                (**self).try_acquire()
            }
            fn acquire_timeout(&self, timeout: Duration) -> bool {
                (**self).acquire_timeout(timeout)
            }
            fn release(&self) -> bool {
                (**self).release().is_ok()
            }
            fn release_many(&self, permits: u32) -> bool {
                (**self).release_many(permits).is_ok()
            }
            fn value(&self) -> u32 {
                (**self).value()
            }
        }
    };
}
semaphore!(
    Arc<threading::Semaphore>,
    fn elsewhere(&self, _: Memory) -> Box<dyn AnySemaphore> {
        Box::new(self.clone())
    }
);
semaphore!(
    Arc<threading::BoundedSemaphore>,
    fn elsewhere(&self, _: Memory) -> Box<dyn AnySemaphore> {
        Box::new(self.clone())
    }
);
semaphore!(
    Box<mp::Semaphore>,
    fn elsewhere(&self, memory: Memory) -> Box<dyn AnySemaphore> {
        match memory {
            Memory::Mapped(scope) => Box::new(Box::new(self.through(scope).unwrap())),
            _ => Box::new(self.clone()),
        }
    }
);
// Dereferences to a Semaphore, through which its bound holds as well.
semaphore!(
    mp::BoundedSemaphore,
    fn elsewhere(&self, memory: Memory) -> Box<dyn AnySemaphore> {
        match memory {
            Memory::Mapped(scope) => Box::new(Box::new(self.through(scope).unwrap())),
            _ => Box::new(self.clone()),
        }
    }
);

macro_rules! event {
    ($type:ty, $face:ty, $elsewhere:item) => {
        impl AnyEvent for $type {
            $elsewhere
            fn set(&self) {
                <$face>::set(self);
            }
            fn clear(&self) {
                <$face>::clear(self);
            }
            fn is_set(&self) -> bool {
                <$face>::is_set(self)
            }
            fn wait(&self) {
                <$face>::wait(self);
            }
            fn wait_timeout(&self, timeout: Duration) -> bool {
                <$face>::wait_timeout(self, timeout)
            }
        }
    };
}
event!(
    Arc<threading::Event>,
    threading::Event,
    fn elsewhere(&self, _: Memory) -> Box<dyn AnyEvent> {
        Box::new(self.clone())
    }
);
event!(
    mp::Event,
    mp::Event,
    fn elsewhere(&self, memory: Memory) -> Box<dyn AnyEvent> {
        match memory {
            Memory::Mapped(scope) => Box::new(self.through(scope).unwrap()),
            _ => Box::new(self.clone()),
        }
    }
);

impl AnyMonitor for Arc<(threading::Lock<u64>, threading::Condition)> {
    private_elsewhere!(AnyMonitor);
    fn wait_timeout(&self, timeout: Duration) -> bool {
        let mut guard = self.0.acquire();
        self.1.wait_timeout(&mut guard, timeout).unwrap()
    }
    fn wait_for(&self, least: u64, timeout: Duration) -> bool {
        let mut guard = self.0.acquire();
        let came = |guard: &mut threading::LockGuard<'_, u64>| **guard >= least;
        self.1.wait_for_timeout(&mut guard, timeout, came).unwrap()
    }
    fn change(&self, by: u64, waiters: Option<u32>) -> u32 {
        let mut guard = self.0.acquire();
        *guard += by;
        match waiters {
            Some(n) => self.1.notify(&guard, n).unwrap(),
            None => self.1.notify_all(&guard).unwrap(),
        }
    }
    fn number(&self) -> u64 {
        *self.0.acquire()
    }
}

impl AnyMonitor for (mp::Lock<u64>, mp::Condition) {
    fn elsewhere(&self, memory: Memory) -> Box<dyn AnyMonitor> {
        match memory {
            Memory::Mapped(scope) => Box::new((
                self.0.through(scope).unwrap(),
                self.1.through(scope).unwrap(),
            )),
            _ => Box::new(self.clone()),
        }
    }
    fn wait_timeout(&self, timeout: Duration) -> bool {
        let mut guard = self.0.acquire().unwrap();
        self.1.wait_timeout(&mut guard, timeout).unwrap()
    }
    fn wait_for(&self, least: u64, timeout: Duration) -> bool {
        let mut guard = self.0.acquire().unwrap();
        let came = |guard: &mut mp::LockGuard<'_, u64>| **guard >= least;
        self.1.wait_for_timeout(&mut guard, timeout, came).unwrap()
    }
    fn change(&self, by: u64, waiters: Option<u32>) -> u32 {
        let mut guard = self.0.acquire().unwrap();
        *guard += by;
        match waiters {
            Some(n) => self.1.notify(&guard, n).unwrap(),
            None => self.1.notify_all(&guard).unwrap(),
        }
    }
    fn number(&self) -> u64 {
        *self.0.acquire().unwrap()
    }
}

macro_rules! barrier {
    ($type:ty, $face:ty, $elsewhere:item) => {
        impl AnyBarrier for $type {
            $elsewhere
            fn wait(&self) -> Option<u32> {
                <$face>::wait(self).ok().map(|passed| passed.index())
            }
            fn wait_timeout(&self, timeout: Duration) -> Option<u32> {
                <$face>::wait_timeout(self, timeout).ok().map(|passed| passed.index())
            }
            fn abort(&self) {
                <$face>::abort(self);
            }
            fn reset(&self) {
                <$face>::reset(self);
            }
            fn broken(&self) -> bool {
                <$face>::broken(self)
            }
            fn n_waiting(&self) -> u32 {
                <$face>::n_waiting(self)
            }
        }
    };
}
barrier!(
    Arc<threading::Barrier>,
    threading::Barrier,
    fn elsewhere(&self, _: Memory) -> Box<dyn AnyBarrier> {
        Box::new(self.clone())
    }
);
barrier!(
    mp::Barrier,
    mp::Barrier,
    fn elsewhere(&self, memory: Memory) -> Box<dyn AnyBarrier> {
        match memory {
            Memory::Mapped(scope) => Box::new(self.through(scope).unwrap()),
            _ => Box::new(self.clone()),
        }
    }
);

/// Constructors.
impl Memory {
    fn is_private(self) -> bool {
        self == Memory::Private
    }

    pub(crate) fn lock(self) -> Box<dyn AnyLock> {
        if self.is_private() {
            Box::new(Arc::new(threading::Lock::new(())))
        } else {
            Box::new(mp::Lock::new(()).unwrap())
        }
    }

    pub(crate) fn rlock(self) -> Box<dyn AnyLock> {
        if self.is_private() {
            Box::new(Arc::new(threading::RLock::new(())))
        } else {
            Box::new(mp::RLock::new(()).unwrap())
        }
    }

    pub(crate) fn semaphore(self, permits: u32) -> Box<dyn AnySemaphore> {
        if self.is_private() {
            Box::new(Arc::new(threading::Semaphore::new(permits)))
        } else {
            Box::new(Box::new(mp::Semaphore::new(permits).unwrap()))
        }
    }

    pub(crate) fn bounded_semaphore(self, permits: u32) -> Box<dyn AnySemaphore> {
        if self.is_private() {
            Box::new(Arc::new(threading::BoundedSemaphore::new(permits)))
        } else {
            Box::new(mp::BoundedSemaphore::new(permits).unwrap())
        }
    }

    pub(crate) fn event(self) -> Box<dyn AnyEvent> {
        if self.is_private() {
            Box::new(Arc::new(threading::Event::new()))
        } else {
            Box::new(mp::Event::new().unwrap())
        }
    }

    pub(crate) fn monitor(self) -> Box<dyn AnyMonitor> {
        if self.is_private() {
            Box::new(Arc::new((
                threading::Lock::new(0),
                threading::Condition::new(),
            )))
        } else {
            Box::new((mp::Lock::new(0).unwrap(), mp::Condition::new().unwrap()))
        }
    }

    pub(crate) fn barrier(self, parties: u32) -> Box<dyn AnyBarrier> {
        if self.is_private() {
            Box::new(Arc::new(threading::Barrier::new(parties).unwrap()))
        } else {
            Box::new(mp::Barrier::new(parties).unwrap())
        }
    }
}
