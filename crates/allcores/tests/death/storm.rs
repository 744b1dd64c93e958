//! A storm: processes at work on one thing, killed at random instants and replaced, while the rest must go on.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::*};

use super::{Process, Random, Status, number_from_env, page, until, until_or};

const SEATS: usize = 64;

/// What the workers of a storm share with the hand that kills them.
pub(crate) struct Floor {
    stop: AtomicBool,
    /// How often each seat has done its work.
    beats: [AtomicU64; SEATS],
    /// Who is inside what only one may be in; 0 for nobody.
    inside: AtomicU64,
    overlaps: AtomicU64,
    tokens: AtomicU64,
    /// Deaths that somebody was told of.
    pub(crate) told: AtomicU64,
    /// For a test's own use, one for each seat.
    pub(crate) notes: [AtomicU32; SEATS],
}

/// A thread of a worker.
pub(crate) struct Seat {
    pub(crate) floor: &'static Floor,
    pub(crate) number: usize,
    /// Never the same twice.
    token: u64,
}

impl Seat {
    /// Enters what only one may be in. `after_death`: whoever was inside may have died there.
    pub(crate) fn enter(&self, after_death: bool) {
        let before = self.floor.inside.swap(self.token, SeqCst);
        if before != 0 && !after_death {
            self.floor.overlaps.fetch_add(1, SeqCst);
            eprintln!("{} entered while {before} was inside", self.token);
        }
    }

    pub(crate) fn leave(&self) {
        let now = self.floor.inside.swap(0, SeqCst);
        if now != self.token {
            self.floor.overlaps.fetch_add(1, SeqCst);
            eprintln!("{} left, but {now} was inside", self.token);
        }
    }

    pub(crate) fn is_nobody_inside(&self) -> bool {
        self.floor.inside.load(SeqCst) == 0
    }

    /// Makes what one does longer, so that death finds one doing it.
    pub(crate) fn dwell(&self) {
        for _ in 0..64 + self.token % 256 {
            std::hint::spin_loop();
        }
    }

    /// Something that must never be was seen.
    pub(crate) fn complain(&self, what: &str) {
        self.floor.overlaps.fetch_add(1, SeqCst);
        eprintln!("{}: {what}", self.token);
    }

    /// Never the same for two processes, or two threads.
    pub(crate) fn token(&self) -> u64 {
        self.token
    }

    /// How often this seat's work has been done, by this one and by those before.
    pub(crate) fn beat(&self) -> u64 {
        self.floor.beats[self.number].load(SeqCst)
    }

    pub(crate) fn note(&self, note: u32) {
        self.floor.notes[self.number].store(note, SeqCst);
    }

    pub(crate) fn stopping(&self) -> bool {
        self.floor.stop.load(SeqCst)
    }
}

/// How a storm goes.
pub(crate) struct Storm {
    pub(crate) floor: &'static Floor,
    pub(crate) workers: usize,
    /// Threads of each worker.
    pub(crate) threads: usize,
    pub(crate) rounds: u64,
    /// Whether each can do its work while those who were killed have no successors.
    pub(crate) survivors_go_on: bool,
}

impl Storm {
    pub(crate) fn new(workers: usize, threads: usize, rounds: u64) -> Storm {
        assert!(workers * threads <= SEATS);
        Storm {
            // SAFETY: a Floor is made of atomics, for which zeroes are valid.
            floor: unsafe { page::<Floor>() },
            workers,
            threads,
            rounds: number_from_env("ALLCORES_STORM_ROUNDS").unwrap_or(rounds),
            survivors_go_on: true,
        }
    }

    /// Lets it rage. `work` is done over and over by every thread of every worker; `buried` is told of the seats of a worker
    /// that has been killed and waited for, before another takes its place; `tell` says how things stand after a hang.
    pub(crate) fn rage(
        &self,
        work: &(dyn Fn(&Seat) + Sync),
        buried: impl FnMut(std::ops::Range<usize>),
        tell: impl Fn(),
    ) {
        self.rage_to_the_end(work, buried, tell, || {});
    }

    /// [`Storm::rage`]; `release` frees those who may wait for others when all are to stop, again and again.
    pub(crate) fn rage_to_the_end(
        &self,
        work: &(dyn Fn(&Seat) + Sync),
        mut buried: impl FnMut(std::ops::Range<usize>),
        tell: impl Fn(),
        release: impl Fn(),
    ) {
        let mut random = Random::new();
        let mut crew: Vec<Process> = (0..self.workers).map(|w| self.hire(w, work)).collect();
        let mut kills = 0;
        while kills < self.rounds {
            match random.below(16) {
                0 => self.all_go_on(&tell, 0..self.workers * self.threads),
                1..=8 => {
                    let one = random.below((self.workers * self.threads) as u64) as usize;
                    self.all_go_on(&tell, one..one + 1);
                }
                // At once: the newcomer may still be joining.
                _ => {}
            }
            random.dawdle(300);
            let first = random.below(self.workers as u64) as usize;
            let mut victims = vec![first];
            crew[first].strike();
            if random.below(4) == 0 {
                let second =
                    (first + 1 + random.below(self.workers as u64 - 1) as usize) % self.workers;
                random.dawdle(random_pause(&mut Random::from(kills + 1)));
                crew[second].strike();
                victims.push(second);
            }
            for victim in &victims {
                assert_eq!(crew[*victim].wait(), Status::Killed(libc::SIGKILL));
                buried(self.seats(*victim));
            }
            if self.survivors_go_on && random.below(4) == 0 {
                // Without any help of newcomers, who would look at everything afresh.
                let survivors = (0..self.workers).filter(|worker| !victims.contains(worker));
                for survivor in survivors {
                    self.all_go_on(&tell, self.seats(survivor));
                }
            }
            for victim in victims {
                crew[victim] = self.hire(victim, work);
                kills += 1;
            }
            assert_eq!(self.floor.overlaps.load(SeqCst), 0, "after {kills} kills");
        }
        self.all_go_on(&tell, 0..self.workers * self.threads);
        self.floor.stop.store(true, SeqCst);
        for mut worker in crew {
            until_or("a worker stops", &tell, || {
                release();
                worker.try_wait().is_some()
            });
            assert_eq!(worker.wait(), Status::Exited(0));
        }
        assert_eq!(self.floor.overlaps.load(SeqCst), 0);
        let beats: u64 = self.floor.beats.iter().map(|beat| beat.load(SeqCst)).sum();
        println!(
            "{kills} kills, {beats} turns, {} deaths told",
            self.floor.told.load(SeqCst)
        );
    }

    fn seats(&self, worker: usize) -> std::ops::Range<usize> {
        worker * self.threads..(worker + 1) * self.threads
    }

    fn hire(&self, worker: usize, work: &(dyn Fn(&Seat) + Sync)) -> Process {
        let floor = self.floor;
        Process::start(|| {
            std::thread::scope(|scope| {
                let mut seats = self.seats(worker).map(|number| Seat {
                    floor,
                    number,
                    token: floor.tokens.fetch_add(1, SeqCst) + 1,
                });
                let mine = seats.next().expect("a worker has a thread");
                for seat in seats {
                    scope.spawn(move || toil(&seat, work));
                }
                toil(&mine, work);
            });
        })
    }

    /// Every one of these seats finishes its work once more.
    fn all_go_on(&self, tell: &impl Fn(), seats: std::ops::Range<usize>) {
        for seat in seats {
            let beat = &self.floor.beats[seat];
            let before = beat.load(SeqCst);
            until_or(
                &format!("seat {seat} goes on"),
                || {
                    tell();
                    eprintln!(
                        "inside: {}, notes: {:?}",
                        self.floor.inside.load(SeqCst),
                        &self.floor.notes
                    );
                },
                || beat.load(SeqCst) != before,
            );
        }
    }
}

/// None, a microsecond, or up to 40.
fn random_pause(random: &mut Random) -> u64 {
    [0, 1, 40][random.below(3) as usize]
}

fn toil(seat: &Seat, work: &(dyn Fn(&Seat) + Sync)) {
    while !seat.stopping() {
        work(seat);
        // On few CPUs one would otherwise take the lock again and again before anybody else wakes up.
        std::thread::yield_now();
        seat.floor.beats[seat.number].fetch_add(1, SeqCst);
    }
}
