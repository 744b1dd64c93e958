//! Two workers at once: two threads, or two forked processes.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};
use std::time::{Duration, Instant};

use super::machine::Pins;
use super::peers::Shared;

/// What the workers are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Workers {
    Threads,
    Processes,
}

#[repr(align(128))]
struct Line<T>(T);

/// What workers and coordinator see of each other, in shared memory; each word on its own cache line.
pub(crate) struct Stage {
    ready: Line<AtomicU32>,
    go: Line<AtomicU32>,
    stop: Line<AtomicU32>,
    done: [Line<AtomicU64>; 2],
}

impl Stage {
    /// Whether the round is over.
    #[inline]
    pub(crate) fn stopped(&self) -> bool {
        self.stop.0.load(Relaxed) != 0
    }
}

fn until(word: &AtomicU32, value: u32) {
    while word.load(Acquire) != value {
        std::thread::yield_now();
    }
}

/// Runs two workers until a round is over, and says how many nanoseconds one operation of worker 0 and 1 together took.
/// Each worker gets its index, does its operations until [`Stage::stopped`], and returns their number.
pub(crate) fn run(
    workers: Workers,
    pins: Pins,
    round: Duration,
    work: &(dyn Fn(usize, &Stage) -> u64 + Sync),
) -> f64 {
    let stage = Shared::new(Stage {
        ready: Line(AtomicU32::new(0)),
        go: Line(AtomicU32::new(0)),
        stop: Line(AtomicU32::new(0)),
        done: [const { Line(AtomicU64::new(0)) }; 2],
    });
    let worker = |index: usize| {
        pins.apply(index);
        stage.ready.0.fetch_add(1, AcqRel);
        until(&stage.go.0, 1);
        let done = work(index, &stage);
        stage.done[index].0.store(done, Release);
    };
    let conduct = || {
        until(&stage.ready.0, 2);
        let start = Instant::now();
        stage.go.0.store(1, Release);
        std::thread::sleep(round);
        stage.stop.0.store(1, Release);
        start.elapsed()
    };
    let elapsed = match workers {
        Workers::Threads => std::thread::scope(|scope| {
            let worker = &worker;
            for index in 0..2 {
                scope.spawn(move || worker(index));
            }
            conduct()
        }),
        Workers::Processes => {
            let children = [0, 1].map(|index| Child::fork(|| worker(index)));
            let elapsed = conduct();
            children.into_iter().for_each(Child::join);
            elapsed
        }
    };
    let done: u64 = stage.done.iter().map(|line| line.0.load(Acquire)).sum();
    assert!(done > 0, "no worker did anything in {elapsed:?}");
    elapsed.as_nanos() as f64 / done as f64
}

/// Both workers contend for one thing: the same operation over and over.
pub(crate) fn contend(
    workers: Workers,
    pins: Pins,
    round: Duration,
    operation: impl Fn() + Sync,
) -> f64 {
    run(workers, pins, round, &|_, stage| {
        let mut done = 0;
        loop {
            operation();
            done += 1;
            // At the end: even a worker that got no CPU all round long did something.
            if stage.stopped() {
                return done;
            }
        }
    })
}

/// Something to compute, inside a lock or outside: about a nanosecond a step.
#[inline]
pub(crate) fn compute(steps: u32) {
    for step in 0..steps {
        std::hint::black_box(step);
    }
}

/// One direction of a ping-pong: what is sent once is received once.
pub(crate) trait Signal: Sync {
    /// The receiving worker says who it is, before anything is sent.
    fn receiver_is_here(&self) {}
    fn send(&self);
    fn receive(&self);
}

/// Two workers wake each other in turn: nanoseconds a hand-off.
pub(crate) fn ping_pong<S: Signal>(
    workers: Workers,
    pins: Pins,
    round: Duration,
    make: impl Fn() -> S,
) -> f64 {
    let (ping, pong) = (make(), make());
    let (here, last) = (
        Shared::new(AtomicU32::new(0)),
        Shared::new(AtomicU32::new(0)),
    );
    run(workers, pins, round, &|index, stage| {
        let (to, from) = if index == 0 {
            (&ping, &pong)
        } else {
            (&pong, &ping)
        };
        from.receiver_is_here();
        here.fetch_add(1, AcqRel);
        until(&here, 2);
        let mut hand_offs = 0;
        if index == 0 {
            while hand_offs == 0 || !stage.stopped() {
                to.send();
                from.receive();
                hand_offs += 2;
            }
            last.store(1, Release);
            to.send();
        } else {
            loop {
                from.receive();
                if last.load(Acquire) != 0 {
                    break;
                }
                to.send();
            }
        }
        hand_offs
    })
}

/// A forked child, which dies with this process.
pub(crate) struct Child(libc::pid_t);

impl Child {
    /// Runs `work` in a forked child, which ends without going back to its caller.
    pub(crate) fn fork(work: impl FnOnce()) -> Child {
        // SAFETY: the program's other threads, if any, are idle here: no lock that the child needs is held by them.
        match unsafe { libc::fork() } {
            0 => {
                // SAFETY: prctl with these arguments reads no memory.
                unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
                let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
                // SAFETY: ends the child without running what its parent registered for its own exit.
                unsafe { libc::_exit(if outcome.is_ok() { 0 } else { 101 }) }
            }
            -1 => panic!("fork: {}", std::io::Error::last_os_error()),
            pid => Child(pid),
        }
    }

    /// Kills it; it is a zombie until [`Child::reap`].
    pub(crate) fn kill(&self) {
        // SAFETY: our own child, not waited for yet.
        unsafe { libc::kill(self.0, libc::SIGKILL) };
    }

    /// Waits for its end; the status as waitpid tells it.
    pub(crate) fn reap(self) -> i32 {
        let mut status = 0;
        // SAFETY: `status` is room for the answer.
        while unsafe { libc::waitpid(self.0, &mut status, 0) } != self.0 {
            let error = std::io::Error::last_os_error();
            assert_eq!(error.kind(), std::io::ErrorKind::Interrupted, "{error}");
        }
        status
    }

    pub(crate) fn join(self) {
        let status = self.reap();
        assert_eq!(status, 0, "a worker ended with wait status {status}");
    }
}
