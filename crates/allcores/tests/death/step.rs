//! A process led instruction by instruction (ptrace), to be killed at any of them.

use super::{Process, Random, Status, number_from_env};

/// A thread of a child that has stopped before what is to be watched.
pub(crate) struct Stepped {
    tid: i32,
    /// How many instructions it has done since.
    pub(crate) steps: u64,
}

/// Where [`Stepped::call`] has come to.
pub(crate) enum Stop {
    /// The border of a system call.
    Call,
    /// It has forked: the new process, stopped before its first instruction.
    Forked(Stepped),
    Ended,
}

impl Stepped {
    /// For the child, in the thread that is to be led: waits here until its parent leads it on.
    pub(crate) fn begin() {
        // SAFETY: asks for this thread to be traced by the parent, and stops it.
        unsafe {
            libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0);
            libc::syscall(
                libc::SYS_tgkill,
                libc::getpid(),
                libc::gettid(),
                libc::SIGSTOP,
            );
        }
    }

    /// For the child, in the thread that is to be led later: goes on until its parent stops it.
    pub(crate) fn offer() {
        // SAFETY: as in `begin`.
        unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) };
    }

    /// For the parent: waits until that thread has stopped.
    pub(crate) fn meet(tid: i32) -> Stepped {
        let status = wait(tid);
        assert!(
            libc::WIFSTOPPED(status) && libc::WSTOPSIG(status) == libc::SIGSTOP,
            "the child should have stopped, but its status is {status:#x}"
        );
        Stepped { tid, steps: 0 }
    }

    /// One instruction; `false` if the thread is at its end.
    pub(crate) fn step(&mut self) -> bool {
        // SAFETY: the thread is ours to lead, and stopped.
        let led = unsafe { libc::ptrace(libc::PTRACE_SINGLESTEP, self.tid, 0, 0) };
        if led != 0 {
            return false;
        }
        self.steps += 1;
        libc::WIFSTOPPED(wait(self.tid))
    }

    /// On to where the next system call begins, or the one that it is in ends; `false` if a SIGUSR1 came first.
    pub(crate) fn next_system_call(&mut self) -> bool {
        // SAFETY: as in `step`.
        let led = unsafe { libc::ptrace(libc::PTRACE_SYSCALL, self.tid, 0, 0) };
        assert_eq!(led, 0, "ptrace: {}", std::io::Error::last_os_error());
        let status = wait(self.tid);
        assert!(libc::WIFSTOPPED(status), "it ended: {status:#x}");
        match libc::WSTOPSIG(status) {
            libc::SIGTRAP => true,
            libc::SIGUSR1 => false,
            other => panic!("stopped by signal {other}"),
        }
    }

    /// One instruction; `true` if it is a system call in which the thread has fallen asleep: then [`Stepped::come_back`]
    /// is due.
    pub(crate) fn step_or_sleep(&mut self) -> bool {
        // SAFETY: as in `step`.
        let led = unsafe { libc::ptrace(libc::PTRACE_SINGLESTEP, self.tid, 0, 0) };
        assert_eq!(led, 0, "ptrace: {}", std::io::Error::last_os_error());
        self.steps += 1;
        let news = block_news();
        loop {
            let mut status = 0;
            // SAFETY: as in `wait`.
            let got = unsafe { libc::waitpid(self.tid, &mut status, libc::__WALL | libc::WNOHANG) };
            if got == self.tid {
                return false;
            }
            let soon = libc::timespec {
                tv_sec: 0,
                tv_nsec: 500_000,
            };
            // SAFETY: a set and a time on our stack.
            let heard = unsafe { libc::sigtimedwait(&news, std::ptr::null_mut(), &soon) };
            if heard < 0 && is_asleep(self.tid, self.tid).is_some() {
                return true;
            }
        }
    }

    /// Waits until the thread has woken up.
    pub(crate) fn come_back(&mut self) {
        wait(self.tid);
    }

    /// Takes the lead of any thread, and of the processes that it forks.
    pub(crate) fn seize(tid: i32) -> Stepped {
        // SAFETY: plain numbers; a thread of a descendant.
        unsafe {
            let seized = libc::ptrace(libc::PTRACE_SEIZE, tid, 0, libc::PTRACE_O_TRACEFORK);
            assert_eq!(seized, 0, "ptrace: {}", std::io::Error::last_os_error());
            libc::ptrace(libc::PTRACE_INTERRUPT, tid, 0, 0);
        }
        wait(tid);
        Stepped { tid, steps: 0 }
    }

    /// On to the beginning or the end of a system call: nothing that others could see happens in between.
    pub(crate) fn call(&mut self) -> Stop {
        // SAFETY: as in `step`.
        let led = unsafe { libc::ptrace(libc::PTRACE_SYSCALL, self.tid, 0, 0) };
        if led != 0 {
            return Stop::Ended;
        }
        self.steps += 1;
        let status = wait(self.tid);
        if !libc::WIFSTOPPED(status) {
            return Stop::Ended;
        }
        if status >> 16 != libc::PTRACE_EVENT_FORK {
            return Stop::Call;
        }
        let mut tid = 0u64;
        // SAFETY: as in `step`, and room for the number.
        unsafe { libc::ptrace(libc::PTRACE_GETEVENTMSG, self.tid, 0, &raw mut tid) };
        let tid = tid as i32;
        wait(tid);
        Stop::Forked(Stepped { tid, steps: 0 })
    }

    /// Kills the process of this thread, and sees the end of the thread.
    pub(crate) fn kill(self) {
        // SAFETY: it is stopped, and its end is reported to us alone: a number of its own.
        unsafe { libc::kill(self.tid, libc::SIGKILL) };
        while libc::WIFSTOPPED(wait(self.tid)) {}
    }

    /// Lets it run.
    pub(crate) fn let_go(self) {
        self.let_go_with(0);
    }

    /// Lets it run, from a signal handler first.
    pub(crate) fn let_go_with(self, signal: i32) {
        // SAFETY: as in `step`.
        unsafe { libc::ptrace(libc::PTRACE_DETACH, self.tid, 0, signal) };
    }
}

/// Keeps SIGCHLD, which comes with every stop of a led thread, for those who ask for it.
fn block_news() -> libc::sigset_t {
    // SAFETY: a set on our stack, about this thread.
    unsafe {
        let mut news = std::mem::zeroed();
        libc::sigemptyset(&mut news);
        libc::sigaddset(&mut news, libc::SIGCHLD);
        libc::pthread_sigmask(libc::SIG_BLOCK, &news, std::ptr::null_mut());
        news
    }
}

fn wait(tid: i32) -> i32 {
    let mut status = 0;
    loop {
        // SAFETY: a thread of our child, traced by us, and a valid place.
        let got = unsafe { libc::waitpid(tid, &mut status, libc::__WALL) };
        if got == tid {
            return status;
        }
        let error = std::io::Error::last_os_error();
        assert_eq!(error.raw_os_error(), Some(libc::EINTR), "waitpid: {error}");
    }
}

/// Whether a thread sleeps in a futex call: `Some(true)` if it has settled down for long, listening to many words or waiting
/// for the arena's guard.
pub(crate) fn is_asleep(pid: i32, tid: i32) -> Option<bool> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{tid}/syscall")).ok()?;
    let mut words = text.split(' ');
    match words.next()?.parse::<i64>().ok()? {
        libc::SYS_futex => {
            let operation = words.nth(1)?.trim_start_matches("0x");
            let operation = i32::from_str_radix(operation, 16).ok()?;
            // The guard is a mutex of libc's, which counts in that clock; the library counts in the other.
            Some(operation & libc::FUTEX_CLOCK_REALTIME != 0)
        }
        libc::SYS_futex_waitv => Some(true),
        _ => None,
    }
}

/// How many steps an operation may cost by default: every point is reached from the start.
const BUDGET: u64 = 40_000;

/// At which instructions of an operation of `length` to stop: `default` of them (fewer of a long one) or as many as asked
/// for, evenly spread from a random start, or all.
pub(crate) fn points(length: u64, default: u64) -> impl Iterator<Item = u64> {
    let affordable = default.min(2 * BUDGET / length.max(1)).max(4);
    let wanted = number_from_env("ALLCORES_STEP_POINTS").unwrap_or(affordable);
    let all = number_from_env("ALLCORES_STEP_ALL") == Some(1) || length <= wanted;
    let stride = if all { 1 } else { length / wanted };
    let first = Random::new().below(stride);
    println!("{length} instructions, every {stride} from {first}");
    (first..=length).step_by(stride as usize)
}
