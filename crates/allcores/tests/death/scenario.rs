//! One operation, killed at every one of its instructions while others wait for what it was about to give.

use std::sync::atomic::{AtomicU32, Ordering::*};

use super::{Gate, Process, Stepped, is_asleep, page, points, until_or};

/// How many processes wait.
const WAITERS: usize = 2;

/// What is done, by whom.
pub(crate) struct Scenario<'a> {
    pub(crate) name: &'a str,
    /// By the victim, at full speed.
    pub(crate) before: &'a dyn Fn(),
    /// By the victim, instruction by instruction; from where it first sleeps, if it is to be woken.
    pub(crate) operation: &'a dyn Fn(),
    /// By each of the waiters, all over again for every victim.
    pub(crate) wait: &'a dyn Fn(),
    /// When the waiters go to sleep: before the operation, or when the victim has come as far as it ever will.
    pub(crate) waiters_first: bool,
    /// If the victim sleeps in its operation: wakes it, by the hand that leads it.
    pub(crate) unblock: Option<&'a dyn Fn()>,
    /// After the death, again and again until nobody waits: what the victim may have left undone and nobody owes to the
    /// waiters. Told whether one of them is asleep.
    pub(crate) make_up: &'a dyn Fn(bool),
    /// When nobody waits any more: looks whether all is well.
    pub(crate) check: &'a dyn Fn(),
}

#[derive(Default)]
struct Table {
    go: Gate,
    done: [Gate; WAITERS],
    finished: AtomicU32,
    offered: AtomicU32,
}

pub(crate) const NOTHING: &dyn Fn() = &|| {};
pub(crate) const NOBODY_OWES: &dyn Fn(bool) = &|_| {};

impl Scenario<'_> {
    /// Kills one victim for each point.
    pub(crate) fn play(&self, default_points: u64) {
        if self.unblock.is_some() && polls() {
            println!(
                "{}: not led, as it would never sleep: polls are over before they begin",
                self.name
            );
            return;
        }
        // SAFETY: atomics, for which zeroes are valid.
        let table = unsafe { page::<Table>() };
        let waiters: Vec<Process> = (0..WAITERS).map(|w| self.seat(table, w)).collect();
        // Leader and led take turns: on one CPU that costs a tenth.
        stay_on_one_cpu();
        let length = self.once(table, &waiters, u64::MAX);
        let mut killed = 0;
        for point in points(length, default_points) {
            self.once(table, &waiters, point);
            killed += 1;
        }
        println!("{}: killed at {killed} of {length} instructions", self.name);
    }

    fn seat(&self, table: &'static Table, number: usize) -> Process {
        Process::start(|| {
            let mut round = 0;
            loop {
                round += 1;
                table.go.wait(round);
                (self.wait)();
                table.done[number].set(round);
            }
        })
    }

    /// How many instructions the victim did, at most `limit`.
    fn once(&self, table: &'static Table, waiters: &[Process], limit: u64) -> u64 {
        table.finished.store(0, SeqCst);
        table.offered.store(0, SeqCst);
        let victim = Process::start(|| {
            (self.before)();
            if self.unblock.is_none() {
                Stepped::begin();
            } else {
                Stepped::offer();
                table.offered.store(1, SeqCst);
            }
            (self.operation)();
            table.finished.store(1, SeqCst);
            loop {
                // SAFETY: waits to be killed.
                unsafe { libc::pause() };
            }
        });
        let mut led = match self.unblock {
            None => Stepped::meet(victim.pid()),
            Some(_) => self.meet_asleep(table, &victim),
        };
        // Armed or not, in turn.
        let round = table.go.now() + 1;
        let armed = round.is_multiple_of(2);
        if self.waiters_first {
            table.go.set(round);
            self.all_wait(table, waiters, round, armed);
        }
        if let Some(wake) = self.unblock {
            wake();
            led.come_back();
        }
        while led.steps < limit && table.finished.load(SeqCst) == 0 {
            if self.unblock.is_none() {
                assert!(led.step(), "the victim ended by itself");
            } else if led.step_or_sleep() {
                // A waiter that looked round by itself was faster. It may be killed here as well.
                break;
            }
        }
        let steps = led.steps;
        if !self.waiters_first {
            table.go.set(round);
            self.all_wait(table, waiters, round, armed);
        }
        victim.kill();
        self.all_done(table, waiters, round, steps);
        (self.check)();
        steps
    }

    /// Finds the victim asleep in its operation, for good: how it came there is another scenario. It is the first in any
    /// queue.
    fn meet_asleep(&self, table: &Table, victim: &Process) -> Stepped {
        until_or(
            &format!("{}: the victim sleeps", self.name),
            || {},
            || {
                table.offered.load(SeqCst) == 1
                    && is_asleep(victim.pid(), victim.pid()).is_some_and(|many| many || polls())
            },
        );
        victim.signal(libc::SIGSTOP);
        let mut led = Stepped::meet(victim.pid());
        while !led.step_or_sleep() {}
        led.steps = 0;
        led
    }

    /// Every waiter sleeps, or need not wait.
    fn all_wait(&self, table: &Table, waiters: &[Process], round: u32, armed: bool) {
        for (waiter, done) in waiters.iter().zip(&table.done) {
            until_or(
                &format!("{}: a waiter sleeps", self.name),
                || {},
                || {
                    let asleep = is_asleep(waiter.pid(), waiter.pid());
                    done.now() == round || asleep.is_some_and(|many| many || !armed || polls())
                },
            );
        }
    }

    fn all_done(&self, table: &Table, waiters: &[Process], round: u32, steps: u64) {
        for (waiter, done) in waiters.iter().zip(&table.done) {
            until_or(
                &format!(
                    "{}: a waiter goes on after a kill at instruction {steps}",
                    self.name
                ),
                || {},
                || {
                    let all = done.now() == round;
                    if !all {
                        (self.make_up)(is_asleep(waiter.pid(), waiter.pid()).is_some());
                    }
                    all
                },
            );
        }
    }
}

fn stay_on_one_cpu() {
    // SAFETY: a set on our stack, of the size that we say, about this thread.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(libc::sched_getcpu().max(0) as usize, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set);
    }
}

/// Whether sleepers never listen to many words here.
fn polls() -> bool {
    std::env::var_os("ALLCORES_NO_WAITV").is_some_and(|value| value != "0")
}
