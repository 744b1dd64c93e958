//! The only door to the kernel. The rest of the crate names no system call, no descriptor trick and no clock.
//!
//! | file | what |
//! |---|---|
//! | `clock` | absolute monotonic deadlines |
//! | `futex` | wait, wait on many words, wake |
//! | `known` | what is found out once, whoever forks meanwhile |
//! | `identity` | the numbers that lock words hold for "me", and which threads live |
//! | `fork` | fork, and what is forgotten in a forked child |
//! | `local` | bookkeeping of one process that survives a fork |
//! | `robust` | pthread robust mutexes: how the kernel tells of a death |
//! | `memory` | memfd, mapping, growing |
//! | `available` | how much memory there is left |
//! | `random` | random bytes |
//! | `named` | files with names, and whether anybody holds them |
//! | `fds` | descriptors in messages, pipes, poll |
//! | `attached` | a stream beside a connection, which ends with it |
//! | `net` | sockets that listen and connect |
//! | `signals` | signal masks, and SIGPIPE held back |
//! | `pidfd` | a process one can wait for and signal |
//! | `exec` | this executable, started anew |
//! | `surroundings` | what a started process inherits: umask, limits, CPUs, streams, environment |
//! | `standing` | what a forked process cannot take on later: users, capabilities, namespaces |
//! | `image` | this executable in memory: text, build id, constructors |
//! | `model` | loom's stand-in for all of it that the primitives need |

#[cfg(not(allcores_loom))]
pub(crate) mod attached;
#[cfg(not(allcores_loom))]
pub(crate) mod available;
#[cfg(not(allcores_loom))]
pub(crate) mod clock;
#[cfg(not(allcores_loom))]
pub(crate) mod code;
#[cfg(not(allcores_loom))]
pub(crate) mod exec;
#[cfg(not(allcores_loom))]
pub(crate) mod fds;
#[cfg(not(allcores_loom))]
pub(crate) mod fork;
#[cfg(not(allcores_loom))]
pub(crate) mod futex;
#[cfg(not(allcores_loom))]
pub(crate) mod identity;
#[cfg(not(allcores_loom))]
pub(crate) mod image;
#[cfg(not(allcores_loom))]
pub(crate) mod known;
#[cfg(not(allcores_loom))]
pub(crate) mod local;
#[cfg(not(allcores_loom))]
pub(crate) mod memory;
#[cfg(not(allcores_loom))]
pub(crate) mod named;
#[cfg(not(allcores_loom))]
pub(crate) mod net;
#[cfg(not(allcores_loom))]
pub(crate) mod packets;
#[cfg(not(allcores_loom))]
pub(crate) mod pidfd;
#[cfg(not(allcores_loom))]
pub(crate) mod random;
#[cfg(not(allcores_loom))]
pub(crate) mod robust;
#[cfg(not(allcores_loom))]
pub(crate) mod signals;
#[cfg(not(allcores_loom))]
pub(crate) mod standing;
#[cfg(not(allcores_loom))]
pub(crate) mod surroundings;

#[cfg(allcores_loom)]
pub mod model;

/// How many CPUs the machine runs on, whoever may use them.
#[cfg(not(allcores_loom))]
fn cpus_online() -> usize {
    // SAFETY: a query of a number; async-signal-safe.
    let online = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
    online.max(1) as usize
}

/// Whether there is one CPU only: asked once. Not what this thread may run on, which says nothing of others. And not std's
/// available_parallelism, which allocates: we may be in a signal handler.
#[cfg(not(allcores_loom))]
pub(crate) fn has_one_cpu() -> bool {
    static ONE: known::Whether = known::Whether::new();
    ONE.get_or(|| cpus_online() == 1)
}

/// The CPU on which the caller runs, or ran a moment ago. Since glibc 2.35 a read of memory.
#[cfg(not(allcores_loom))]
pub(crate) fn current_cpu() -> u32 {
    // SAFETY: takes nothing. It fails on kernels without getcpu only; any answer will do then.
    unsafe { libc::sched_getcpu() }.max(0) as u32
}

/// Lets others run on this CPU, if they want to.
#[cfg(not(allcores_loom))]
pub(crate) fn offer_cpu() {
    // SAFETY: sched_yield takes nothing and cannot fail on Linux.
    unsafe { libc::sched_yield() };
}
