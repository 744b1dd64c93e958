//! How a child comes to its function before `main`: a constructor that does nothing in any other process.

#[cfg(feature = "pre-main")]
use std::ffi::{c_char, c_int};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::wire::{self, Role};
use super::{child, zygote};
use crate::sys::fds::{self, Channel};
use crate::sys::image;

/// Whether this process has passed a door, so that its children will: they run the same executable.
static PASSED: AtomicBool = AtomicBool::new(false);

pub(crate) fn has_passed() -> bool {
    #[cfg(feature = "pre-main")]
    {
        // The linker keeps what somebody looks at.
        std::hint::black_box(&PRE_MAIN);
    }
    PASSED.load(Relaxed)
}

/// Whether this process was started to run a function and has not come to it.
pub(crate) fn is_still_a_child() -> bool {
    std::env::var_os(wire::MARKER).is_some()
}

/// Early among the constructors, whatever the order of linking: after std's own (99), which notes the arguments.
#[cfg(feature = "pre-main")]
#[used]
#[unsafe(link_section = ".init_array.00101")]
static PRE_MAIN: image::Constructor = before_main;

#[cfg(feature = "pre-main")]
extern "C" fn before_main(
    argc: c_int,
    argv: *const *const c_char,
    environment: *const *const c_char,
) {
    // A constructor of a shared library belongs to whatever program has loaded it. A panic would end the process here,
    // since it cannot leave this function; nothing below is expected to.
    let Some(main) = image::main_executable() else {
        return;
    };
    if main
        .offset_of_code(before_main as *const () as usize)
        .is_none()
    {
        return;
    }
    PASSED.store(true, Relaxed);
    let Some((role, control)) = marked() else {
        return;
    };
    child::set_up();
    // What was to be initialised before main is, when the function runs.
    for constructor in image::constructors_after(before_main) {
        constructor(argc, argv, environment);
    }
    live(role, control)
}

fn live(role: Role, control: OwnedFd) -> ! {
    match role {
        Role::Child => child::live(control),
        Role::Zygote => zygote::serve(control),
    }
}

/// The door for programs that are built without the feature `pre-main`: call it first in `main`. In a process that was
/// started to run a function it runs that function and exits; elsewhere it does nothing.
///
/// With the feature (the default), children never reach `main`, and this is not needed.
///
/// ```
/// allcores::init();
/// ```
pub fn init() {
    PASSED.store(true, Relaxed);
    if let Some((role, control)) = marked() {
        child::set_up();
        live(role, control);
    }
}

/// What this process was started for, if for something other than `main`, and its control socket. Takes the marker out of the environment, so that
/// programs started from here do not see it.
fn marked() -> Option<(Role, OwnedFd)> {
    let marker = std::env::var_os(wire::MARKER)?;
    if image::is_privileged() {
        return None;
    }
    let (role, number, inode) = wire::parse_marker(marker.to_str()?)?;
    let control = inherited(number, inode)?;
    // SAFETY: no thread but this one has been started by the program: it is before main, or at its beginning, as
    // `init` asks for.
    unsafe { std::env::remove_var(wire::MARKER) };
    Some((role, control))
}

/// The descriptor of this number, if it is the very socket that the marker speaks of.
fn inherited(number: i32, inode: u64) -> Option<OwnedFd> {
    if number <= 2 {
        return None;
    }
    // SAFETY: borrowed for the checks only, and fstat tells a closed number from an open one.
    let candidate = unsafe { BorrowedFd::borrow_raw(number) };
    let found = rustix::fs::fstat(candidate).ok()?;
    // A child's is a stream, a fork server's keeps packets apart.
    let is_local = matches!(
        fds::channel(candidate.as_fd()).ok()?,
        Some(Channel::Socket | Channel::Packets)
    );
    if !is_local || found.st_ino != inode {
        return None;
    }
    rustix::io::fcntl_setfd(candidate, rustix::io::FdFlags::CLOEXEC).ok()?;
    // SAFETY: the parent opened it for this process and told nobody else its number.
    Some(unsafe { OwnedFd::from_raw_fd(candidate.as_raw_fd()) })
}
