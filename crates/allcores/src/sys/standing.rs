//! Who this process is to the kernel: what a process that was forked from another one could not take on later. See
//! credentials(7), capabilities(7), namespaces(7).

use std::io;
use std::os::fd::AsRawFd;

use rustix::fs::{AtFlags, CWD, StatxFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::Resource;

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
    /// Mount, device and inode of `/`: another mount namespace has other mounts.
    root: (u64, u32, u32, u64),
    network: u64,
    /// A thread's stack is made once, as large as a first thread's.
    stack: Option<u64>,
}

impl Standing {
    pub(crate) fn of_this_thread() -> io::Result<Standing> {
        let (mut users, mut groups) = ([0; 3], [0; 3]);
        let [real, effective, saved] = &mut users;
        // SAFETY: three places to write to; it cannot fail with valid ones.
        unsafe { libc::getresuid(real, effective, saved) };
        let [real, effective, saved] = &mut groups;
        // SAFETY: as above.
        unsafe { libc::getresgid(real, effective, saved) };
        let more_groups = rustix::process::getgroups()?;
        let capabilities = rustix::thread::capabilities(None)
            .ok()
            .map(|sets| [sets.effective, sets.permitted, sets.inheritable].map(|set| set.bits()));
        let root = rustix::fs::statx(
            CWD,
            c"/",
            AtFlags::empty(),
            StatxFlags::INO | StatxFlags::MNT_ID,
        )?;
        Ok(Standing {
            users,
            groups,
            more_groups: more_groups.iter().map(|group| group.as_raw()).collect(),
            capabilities,
            no_new_privileges: rustix::thread::no_new_privs().unwrap_or(false),
            filtered: is_filtered(),
            session: session()?,
            root: (
                root.stx_mnt_id,
                root.stx_dev_major,
                root.stx_dev_minor,
                root.stx_ino,
            ),
            network: network()?,
            stack: rustix::process::getrlimit(Resource::Stack).current,
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
fn is_filtered() -> bool {
    // SAFETY: a question without pointers. (In strict mode, where it would be answered by SIGKILL, no process is started.)
    unsafe { libc::prctl(libc::PR_GET_SECCOMP, 0, 0, 0, 0) != 0 }
}

/// The number of the network in which this thread would open a socket; 0 before Linux 5.14.
fn network() -> io::Result<u64> {
    const SO_NETNS_COOKIE: i32 = 71;
    // Only a new socket knows.
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
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
    Ok(cookie)
}
