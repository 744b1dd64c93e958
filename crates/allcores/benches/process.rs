//! Processes: how long one takes to start and end, and how long until the death of a lock's holder is known.
//!
//! `cargo bench -p allcores --bench process -- [--json | --markdown] [--quick] [FILTER…]`

mod common;

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering::*};
use std::time::{Duration, Instant};

use allcores::multiprocessing::{Lock, Process, StartMethod};
use common::machine::{Load, Pinned};
use common::pair::Child;
use common::peers::Shared;
use common::{Bench, Bound, repeated};

const MIB: usize = 1 << 20;
/// The hidden command that measures deaths in a process of its own: MiB, number.
const DEATHS: &str = "--deaths";

fn main() {
    procspawn::init();
    let args: Vec<String> = std::env::args().collect();
    if let Some(at) = args.iter().position(|arg| arg == DEATHS) {
        let number = |at: usize| args[at].parse().expect("a number");
        return print_deaths(number(at + 1), number(at + 2));
    }
    let mut bench = Bench::from_args();
    start_join(&mut bench);
    owner_died(&mut bench);
    bench.end();
}

fn answer(question: u64) -> u64 {
    question + 1
}

fn start_join(bench: &mut Bench) {
    let most = if bench.is_quick() { 64 } else { 1024 };
    let server = ("forkserver", StartMethod::ForkServer, Bound::Faster(6.0));
    let spawn = ("spawn", StartMethod::Spawn, Bound::Faster(1.4));
    let rows = [
        (server, "one CPU", 1),
        (server, "two CPUs", 2),
        (spawn, "two CPUs", 2),
    ];
    for ((method, chosen, bound), pins, cpus) in rows {
        for mebibytes in [0, 1024] {
            let figure = format!("Process start+join, {method}, parent of {mebibytes} MiB, {pins}");
            if !bench.wants(&figure) {
                continue;
            }
            let _pinned = Pinned::to_first(cpus);
            // A server of its own for each figure, so that it is pinned as well.
            allcores::multiprocessing::set_forkserver_preload(|| ())
                .expect("it is in this executable");
            let memory = resident(mebibytes.min(most));
            bench.compare(
                &figure,
                bound,
                repeated("multiprocessing::Process", 1, || {
                    let process = Process::new(answer, 41).start_method(chosen);
                    assert_eq!(process.start().unwrap().result().unwrap(), 42);
                }),
                vec![repeated("procspawn", 1, || {
                    assert_eq!(procspawn::spawn(41, answer).join().unwrap(), 42);
                })],
            );
            drop(memory);
        }
    }
}

fn owner_died(bench: &mut Bench) {
    let (most, deaths) = if bench.is_quick() {
        (64, 3)
    } else {
        (1024, 30)
    };
    for (how, no_waitv) in [("FUTEX_WAITV", "0"), ("polling", "1")] {
        for mebibytes in [0, 256, 1024] {
            let figure = format!("OwnerDied after SIGKILL, holder of {mebibytes} MiB, {how}");
            if !bench.wants(&figure) {
                continue;
            }
            let load = Load::new();
            // Whether there is FUTEX_WAITV is asked once in a process: hence a process of its own.
            let output = Command::new(std::env::current_exe().expect("we have a name"))
                .args([
                    DEATHS,
                    &mebibytes.min(most).to_string(),
                    &deaths.to_string(),
                ])
                .env("ALLCORES_NO_WAITV", no_waitv)
                .output()
                .expect("this program can be run again");
            let text = String::from_utf8_lossy(&output.stdout);
            let times: Vec<f64> = text.lines().filter_map(|line| line.parse().ok()).collect();
            assert_eq!(
                times.len(),
                deaths,
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
            bench.latencies(&figure, Bound::Nanoseconds(10e6), &times, load.others());
        }
    }
}

/// Prints, a line each, the nanoseconds from `kill` to the return of an acquirer that had slept.
fn print_deaths(mebibytes: usize, deaths: usize) {
    let lock = Lock::new(()).unwrap();
    for death in 0..deaths {
        let held = Shared::new(AtomicU32::new(0));
        let holder = Child::fork(|| {
            let memory = resident(mebibytes);
            let _guard = lock.acquire();
            held.store(1, Release);
            loop {
                std::thread::sleep(Duration::from_secs(60));
                std::hint::black_box(&memory);
            }
        });
        while held.load(Acquire) == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        let (killed, known) = std::thread::scope(|scope| {
            let waiter = scope.spawn(|| match lock.acquire() {
                Ok(_) => panic!("the holder released the lock"),
                Err(died) => {
                    let known = Instant::now();
                    died.into_guard().recover();
                    known
                }
            });
            // Deaths at all ages of the wait: in its first milliseconds it listens to the lock alone.
            std::thread::sleep(Duration::from_micros(500 + 700 * death as u64));
            let killed = Instant::now();
            holder.kill();
            (killed, waiter.join().expect("the waiter is told"))
        });
        holder.reap();
        println!("{}", known.duration_since(killed).as_nanos());
    }
}

/// So much memory, in small pages, that the kernel must take back when we end.
fn resident(mebibytes: usize) -> Vec<u8> {
    const PAGE: usize = 4096;
    let mut memory = vec![0; mebibytes * MIB];
    let first = memory.as_ptr().align_offset(PAGE);
    if let Some(pages) = memory.get_mut(first..) {
        // SAFETY: advice about pages of our own, which changes no contents.
        unsafe {
            libc::madvise(
                pages.as_mut_ptr().cast(),
                pages.len(),
                libc::MADV_NOHUGEPAGE,
            )
        };
    }
    for page in memory.chunks_mut(PAGE) {
        page[0] = 1;
    }
    memory
}
