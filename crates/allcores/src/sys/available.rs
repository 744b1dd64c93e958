//! How much memory there is left to give. The kernel gives memory files what they ask for until there is nothing left, and
//! then kills somebody; so whoever asks for much asks here first.

use std::fs;

/// How many bytes could be had at this moment, as far as one can see: what the machine has available, and what the limit of
/// this process's control group leaves.
pub(crate) fn bytes() -> Option<u64> {
    [machine(), group()].into_iter().flatten().min()
}

fn machine() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let kibi = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    Some((kibi("MemAvailable:")? + kibi("SwapFree:").unwrap_or(0)) * 1024)
}

/// For version 2 of control groups, and for the group that this process is in itself.
fn group() -> Option<u64> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    let number = |file: &str| {
        let text = fs::read_to_string(format!("/sys/fs/cgroup{path}/{file}")).ok()?;
        text.trim().parse::<u64>().ok()
    };
    // "max" is no number.
    Some(number("memory.max")?.saturating_sub(number("memory.current")?))
}
