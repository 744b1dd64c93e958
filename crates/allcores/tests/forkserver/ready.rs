//! Children that are made ahead, where process and server share one CPU.

use allcores::multiprocessing::parent_process;

use super::util::{alone, children_of, forked, server};

/// Pins the calling thread, and with that the server that it starts, to the first CPU that it may use.
fn pin_to_one_cpu() {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    let usable = sched_getaffinity(None).unwrap();
    let first = (0..CpuSet::MAX_CPU).find(|cpu| usable.is_set(*cpu));
    let mut one = CpuSet::new();
    one.set(first.unwrap());
    sched_setaffinity(None, &one).unwrap();
}

#[test]
fn on_one_cpu_no_more_than_four_are_ready_and_each_of_them_serves() {
    fn test(_: ()) {
        pin_to_one_cpu();
        let mut served = std::collections::HashSet::new();
        for n in 0..60 {
            let of_whom = |n: u32| (n + 1, parent_process().map(|parent| parent.pid()));
            let p = forked(of_whom, n).unwrap();
            served.insert(p.pid());
            let ours = std::process::id();
            assert_eq!(p.result().unwrap(), (n + 1, Some(ours)));
            // It has ended, and left the table where the kernel collects it; otherwise the server does that at its leisure.
            let mut ready = children_of(server());
            ready.retain(|pid| !served.contains(pid));
            assert!(ready.len() <= 4, "{ready:?}");
        }
    }
    alone(test);
}
