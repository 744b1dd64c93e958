//! How much processor time has been used.

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
