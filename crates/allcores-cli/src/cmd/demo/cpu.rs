//! How much processor time has been used.

use std::fs;
use std::time::Instant;

/// Of how much of the machine others had the use since this was made.
pub(crate) struct Machine {
    began: Instant,
    all: Option<f64>,
    ours: f64,
}

impl Machine {
    pub(crate) fn now() -> Machine {
        Machine {
            began: Instant::now(),
            all: used_by_all(),
            ours: used(),
        }
    }

    /// As a part of what all its processors could have done, from 0 to 1; nothing where the kernel does not tell. What the
    /// hypervisor took counts as well.
    pub(crate) fn others(&self) -> Option<f64> {
        let (all, processors) = (used_by_all()? - self.all?, processors()?);
        let others = all - (used() - self.ours);
        Some((others / (self.began.elapsed().as_secs_f64() * processors)).clamp(0.0, 1.0))
    }
}

/// Seconds that all processors together have not been idle.
fn used_by_all() -> Option<f64> {
    // SAFETY: takes a number.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    let busy = busy_ticks(&fs::read_to_string("/proc/stat").ok()?)?;
    (ticks > 0).then(|| busy as f64 / ticks as f64)
}

/// The line of all processors: user, nice, system, idle, iowait, irq, softirq, steal, and guests, who are in user already.
fn busy_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat
        .lines()
        .next()?
        .strip_prefix("cpu ")?
        .split_whitespace();
    let ticks: Vec<u64> = fields
        .by_ref()
        .take(8)
        .map_while(|f| f.parse().ok())
        .collect();
    (ticks.len() == 8).then(|| ticks.iter().sum::<u64>() - ticks[3] - ticks[4])
}

fn processors() -> Option<f64> {
    // SAFETY: takes a number.
    let number = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
    (number > 0).then_some(number as f64)
}

/// Seconds that this process and the children it has waited for have spent, in user and kernel code together.
pub(crate) fn used() -> f64 {
    [libc::RUSAGE_SELF, libc::RUSAGE_CHILDREN]
        .into_iter()
        .map(|who| {
            // SAFETY: all of `rusage` is integers, for which zero is a value.
            let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
            // SAFETY: `usage` is ours and as large as the call writes.
            let result = unsafe { libc::getrusage(who, &mut usage) };
            assert_eq!(result, 0, "getrusage knows SELF and CHILDREN");
            seconds(usage.ru_utime) + seconds(usage.ru_stime)
        })
        .sum()
}

fn seconds(time: libc::timeval) -> f64 {
    time.tv_sec as f64 + time.tv_usec as f64 * 1e-6
}

#[cfg(test)]
mod tests {
    use super::busy_ticks;

    #[test]
    fn waiting_is_no_use() {
        let stat =
            "cpu  1 20 300 4000 50000 600000 7000000 80000000 9 9\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        assert_eq!(busy_ticks(stat), Some(87_600_321));
        for other in ["", "cpu  1 2 3", "intr 1 2 3 4 5 6 7 8 9"] {
            assert_eq!(busy_ticks(other), None, "{other}");
        }
    }
}
