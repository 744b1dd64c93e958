//! Who this process is to the kernel: what a process that was forked from another one could not take on later. See
//! credentials(7), capabilities(7), namespaces(7).

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::fs::{AtFlags, CWD, StatxFlags};
use serde::{Deserialize, Serialize};

/// Users, groups, capabilities, the session, the file system's root and the network. Two processes that agree on these
/// may do the same things.
///
/// Read from the kernel for the calling thread, as a start of a process by that thread would.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Standing {
    users: [u32; 3],
    groups: [u32; 3],
    more_groups: Vec<u32>,
    capabilities: Option<[u64; 3]>,
    no_new_privileges: bool,
    filtered: bool,
    session: i32,
    /// Another mount namespace has other mounts.
    root: Place,
    network: u64,
    /// A thread's stack is made once, as large as a first thread's.
    stack: u64,
}

/// A directory: its mount, device and inode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place(u64, u32, u32, u64);

impl Place {
    fn of(path: &CStr) -> io::Result<Place> {
        let wanted = StatxFlags::INO | StatxFlags::MNT_ID;
        let found = rustix::fs::statx(CWD, path, AtFlags::empty(), wanted)?;
        Ok(Place(
            found.stx_mnt_id,
            found.stx_dev_major,
            found.stx_dev_minor,
            found.stx_ino,
        ))
    }

    /// The working directory of the calling thread. As long as somebody works there, nothing else is the same.
    pub(crate) fn here() -> io::Result<Place> {
        Place::of(c".")
    }
}

impl Standing {
    /// `fresh` is a socket that this thread has made just now, `stack` its limit of stack.
    pub(crate) fn of_this_thread(fresh: BorrowedFd<'_>, stack: u64) -> io::Result<Standing> {
        let (mut users, mut groups) = ([0; 3], [0; 3]);
        let [real, effective, saved] = &mut users;
        // SAFETY: three places to write to; it cannot fail with valid ones.
        unsafe { libc::getresuid(real, effective, saved) };
        let [real, effective, saved] = &mut groups;
        // SAFETY: as above.
        unsafe { libc::getresgid(real, effective, saved) };
        let capabilities = rustix::thread::capabilities(None)
            .ok()
            .map(|sets| [sets.effective, sets.permitted, sets.inheritable].map(|set| set.bits()));
        Ok(Standing {
            users,
            groups,
            more_groups: more_groups()?,
            capabilities,
            no_new_privileges: rustix::thread::no_new_privs().unwrap_or(false),
            filtered: is_filtered(),
            session: session()?,
            root: Place::of(c"/")?,
            network: network(fresh),
            stack,
        })
    }
}

/// The session of this process; 0 if its leader lies outside our namespace of processes, as in many containers (for
/// which rustix has no value).
fn session() -> io::Result<i32> {
    // SAFETY: a question without pointers.
    match unsafe { libc::getsid(0) } {
        -1 => Err(io::Error::last_os_error()),
        session => Ok(session),
    }
}

/// Whether a seccomp filter is in force. A filter that forbids the question is one.
pub(super) fn is_filtered() -> bool {
    // SAFETY: a question without pointers. (In strict mode, where it would be answered by SIGKILL, no process is started.)
    unsafe { libc::prctl(libc::PR_GET_SECCOMP, 0, 0, 0, 0) != 0 }
}

/// The supplementary groups: one call where they are few.
fn more_groups() -> io::Result<Vec<u32>> {
    let mut few = [0; 32];
    // SAFETY: room for as many as it says; it fails if there are more.
    match unsafe { libc::getgroups(few.len() as i32, few.as_mut_ptr()) } {
        -1 => {
            let all = rustix::process::getgroups()?;
            Ok(all.iter().map(|group| group.as_raw()).collect())
        }
        count => Ok(few[..count as usize].to_vec()),
    }
}

/// The number of the network in which this socket was made; 0 before Linux 5.14.
fn network(socket: BorrowedFd<'_>) -> u64 {
    const SO_NETNS_COOKIE: i32 = 71;
    let mut cookie = 0u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: room for the answer and its length.
    unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &mut length,
        )
    };
    cookie
}
