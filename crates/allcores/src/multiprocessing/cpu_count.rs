//! How many processors this process may use.

use std::path::{Path, PathBuf};

/// How many workers can run at the same time: the processors that this process may run on, or fewer where a cgroup (a
/// container, a systemd unit) grants less time than that, rounded up. At least 1.
///
/// ```
/// assert!(allcores::multiprocessing::cpu_count() >= 1);
/// ```
pub fn cpu_count() -> usize {
    let allowed = rustix::thread::sched_getaffinity(None)
        .map_or(1, |set| set.count() as usize)
        .max(1);
    let read = |path: &Path| std::fs::read_to_string(path).ok();
    match granted(&read) {
        // A quota of 1.5 processors keeps two workers busy.
        Some(processors) => allowed.min((processors.ceil() as usize).max(1)),
        None => allowed,
    }
}

/// The processor time that cgroups grant, in processors; `None` without a limit. `read` reads a file.
fn granted(read: &dyn Fn(&Path) -> Option<String>) -> Option<f64> {
    let groups = read(Path::new("/proc/self/cgroup"))?;
    let mounts = read(Path::new("/proc/self/mountinfo"))?;
    let limits = groups.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        if controllers.is_empty() {
            let mount = mount_of(&mounts, "cgroup2", None)?;
            tightest(&mount, path, &|group| {
                version_2(&read(&group.join("cpu.max"))?)
            })
        } else if controllers.split(',').any(|controller| controller == "cpu") {
            let mount = mount_of(&mounts, "cgroup", Some("cpu"))?;
            tightest(&mount, path, &|group| {
                let quota = read(&group.join("cpu.cfs_quota_us"))?;
                let period = read(&group.join("cpu.cfs_period_us"))?;
                ratio(&quota, &period)
            })
        } else {
            None
        }
    });
    limits.reduce(f64::min)
}

/// Where a hierarchy of cgroups is mounted.
struct Mount {
    at: PathBuf,
    /// Which group of the hierarchy is seen there.
    root: String,
}

/// See proc_pid_mountinfo(5): `36 35 98:0 /root /mount/point options … - type source super,options`.
fn mount_of(mounts: &str, kind: &str, controller: Option<&str>) -> Option<Mount> {
    mounts.lines().find_map(|line| {
        let (place, filesystem) = line.split_once(" - ")?;
        let mut place = place.split(' ').skip(3);
        let (root, at) = (place.next()?, place.next()?);
        let mut filesystem = filesystem.split(' ');
        let found = filesystem.next()?;
        let options = filesystem.nth(1).unwrap_or("");
        let has = |wanted| options.split(',').any(|option| option == wanted);
        (found == kind && controller.is_none_or(has)).then(|| Mount {
            at: PathBuf::from(at),
            root: root.to_owned(),
        })
    })
}

/// The lowest limit on the way from a group up to the root: each of them holds.
fn tightest(mount: &Mount, path: &str, limit: &dyn Fn(&Path) -> Option<f64>) -> Option<f64> {
    let below = path.strip_prefix(&mount.root).unwrap_or(path);
    let group = mount.at.join(below.trim_start_matches('/'));
    let way = group
        .ancestors()
        .take_while(|group| group.starts_with(&mount.at));
    way.filter_map(limit).reduce(f64::min)
}

/// `max 100000` or `150000 100000`.
fn version_2(max: &str) -> Option<f64> {
    let (quota, period) = max.trim().split_once(' ')?;
    ratio(quota, period)
}

fn ratio(quota: &str, period: &str) -> Option<f64> {
    // `max` in version 2, and −1 in version 1, are no limit.
    let quota: f64 = quota.trim().parse().ok()?;
    let period: f64 = period.trim().parse().ok()?;
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted_in(files: &[(&str, &str)]) -> Option<f64> {
        granted(&|path| {
            let found = files.iter().find(|(name, _)| Path::new(name) == path);
            found.map(|(_, text)| (*text).to_owned())
        })
    }

    const V2: &str =
        "29 22 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

    #[test]
    fn version_2_takes_the_tightest_group_on_the_way_up() {
        let files = |inner, outer| {
            granted_in(&[
                ("/proc/self/cgroup", "0::/outer/inner\n"),
                ("/proc/self/mountinfo", V2),
                ("/sys/fs/cgroup/outer/inner/cpu.max", inner),
                ("/sys/fs/cgroup/outer/cpu.max", outer),
            ])
        };
        assert_eq!(files("max 100000\n", "max 100000\n"), None);
        assert_eq!(files("150000 100000\n", "max 100000\n"), Some(1.5));
        assert_eq!(files("150000 100000\n", "50000 100000\n"), Some(0.5));
        assert_eq!(files("nonsense", "400000 100000"), Some(4.0));
    }

    #[test]
    fn version_1_is_understood() {
        let mounts = "31 24 0:27 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                      33 24 0:29 /docker/abc /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n";
        let files = |quota| {
            granted_in(&[
                (
                    "/proc/self/cgroup",
                    "5:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n",
                ),
                ("/proc/self/mountinfo", mounts),
                ("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", quota),
                ("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
            ])
        };
        assert_eq!(files("-1\n"), None);
        assert_eq!(files("250000\n"), Some(2.5));
    }

    #[test]
    fn without_cgroups_there_is_no_limit() {
        assert_eq!(granted_in(&[]), None);
        assert_eq!(
            granted_in(&[
                ("/proc/self/cgroup", "0::/\n"),
                ("/proc/self/mountinfo", "")
            ]),
            None
        );
    }
}
