//! Processes that work in phases: a Barrier between them, a Semaphore for what is scarce, a Condition for what is late.
//!
//! `cargo run -p allcores --example 05_phases`

use allcores::multiprocessing::{Barrier, Condition, Lock, Process, Semaphore};
use serde::{Deserialize, Serialize};

const WORKERS: u32 = 3;
const PHASES: usize = 4;

#[derive(Clone, Serialize, Deserialize)]
struct Shared {
    phase_over: Barrier,
    scarce: Semaphore,
    done: Lock<[u32; PHASES]>,
    progress: Condition,
}

fn work(shared: Shared) {
    for phase in 0..PHASES {
        // No more than two at a time.
        let permit = shared.scarce.permit();
        let mut done = shared.done.acquire().unwrap();
        done[phase] += 1;
        shared.progress.notify_all(&done).unwrap();
        drop((done, permit));
        // Nobody begins the next phase before all have ended this one.
        shared.phase_over.wait().unwrap();
        assert_eq!(shared.done.acquire().unwrap()[phase], WORKERS);
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let shared = Shared {
        phase_over: Barrier::new(WORKERS)?,
        scarce: Semaphore::new(2)?,
        done: Lock::new([0; PHASES])?,
        progress: Condition::new()?,
    };
    let workers = (0..WORKERS)
        .map(|_| Process::new(work, shared.clone()).start())
        .collect::<Result<Vec<_>, _>>()?;

    for phase in 0..PHASES {
        let mut done = shared.done.acquire().unwrap();
        shared
            .progress
            .wait_for(&mut done, |done| done[phase] == WORKERS)?;
        println!("phase {phase} is over: {:?}", *done);
    }
    for worker in &workers {
        worker.join()?;
    }
    Ok(())
}
