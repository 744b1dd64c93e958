//! Processes made by fork, that are killed and waited for by number and by nothing else.

use std::panic::AssertUnwindSafe;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Exited(i32),
    Killed(i32),
}

/// A child of this process. Dropped, it is killed and waited for.
#[derive(Debug)]
pub(crate) struct Process {
    pid: i32,
    status: Option<Status>,
}

impl Process {
    /// Forks; the child does `work` and exits with 0, or with 101 if it panics.
    pub(crate) fn start(work: impl FnOnce()) -> Process {
        // SAFETY: the tests fork from processes of one thread, or know what the child may touch.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
        if pid == 0 {
            end_with_parent();
            let done = std::panic::catch_unwind(AssertUnwindSafe(work));
            // SAFETY: ends the process at once; nothing of the parent's is torn down in the child.
            unsafe { libc::_exit(if done.is_ok() { 0 } else { 101 }) };
        }
        Process { pid, status: None }
    }

    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    pub(crate) fn signal(&self, signal: i32) {
        assert!(self.status.is_none(), "the process was waited for already");
        // SAFETY: the child has not been waited for, so the number is still its own.
        unsafe { libc::kill(self.pid, signal) };
    }

    /// SIGKILL, and nothing else: it may not be dead yet.
    pub(crate) fn strike(&self) {
        self.signal(libc::SIGKILL);
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> Status {
        if let Some(status) = self.status {
            return status;
        }
        let status = loop {
            let mut status = 0;
            // SAFETY: our own child, and a valid place for the status.
            let got = unsafe { libc::waitpid(self.pid, &mut status, libc::__WALL) };
            if got == self.pid {
                if libc::WIFEXITED(status) {
                    break Status::Exited(libc::WEXITSTATUS(status));
                }
                if libc::WIFSIGNALED(status) {
                    break Status::Killed(libc::WTERMSIG(status));
                }
                continue;
            }
            let error = std::io::Error::last_os_error();
            assert_eq!(error.raw_os_error(), Some(libc::EINTR), "waitpid: {error}");
        };
        self.status = Some(status);
        status
    }

    /// How it ended, if it has.
    pub(crate) fn try_wait(&mut self) -> Option<Status> {
        let ended = self.status.is_some() || matches!(self.state(), Some('Z') | None);
        ended.then(|| self.wait())
    }

    /// What the kernel says it is doing: `T` for stopped, `Z` for ended.
    pub(crate) fn state(&self) -> Option<char> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok()?;
        stat.rsplit(')').next()?.trim().chars().next()
    }

    /// Kills it and waits for its end.
    pub(crate) fn kill(mut self) {
        self.strike();
        self.wait();
    }

    /// Waits for its end, which must be a good one.
    #[track_caller]
    pub(crate) fn succeeds(mut self) {
        super::until("a process comes to its end", || self.try_wait().is_some());
        assert_eq!(self.wait(), Status::Exited(0));
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.status.is_none() {
            self.strike();
            self.wait();
        }
    }
}

/// Nothing is left behind when a test, or the program that runs it, is killed.
pub(crate) fn end_with_parent() {
    // SAFETY: plain numbers.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
}

/// How many descriptors this process has open.
pub(crate) fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

/// The children of this process that were not waited for, zombies included.
pub(crate) fn children() -> String {
    let mut all = String::new();
    for task in std::fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten()
    {
        all += &std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
    }
    all.trim().to_owned()
}
