//! `allcores::threading` through its public door. The behaviours of the primitives are those that CPython's
//! `test.lock_tests` asks for, in our own words; what is asked of threads follows `test_threading`.

mod barrier;
mod condition;
mod event;
mod hook;
mod lock;
mod queue;
mod rlock;
mod scope;
mod semaphore;
mod thread;
mod timer;
mod util;
mod who;
