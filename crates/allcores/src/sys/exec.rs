//! This executable, started anew. See posix_spawn(3).

use std::ffi::{CStr, CString, c_char};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::null_mut;

use super::signals;

/// The executable that this process runs, also when its file has been replaced or deleted since.
const THIS_EXECUTABLE: &CStr = c"/proc/self/exe";

/// Starts this executable with these arguments and this environment, and returns its process number.
///
/// The child has an empty signal mask, default dispositions, and of all descriptors that are closed on exec it keeps
/// `inherited`. Nothing is forked: the parent's size does not matter, nor its other threads.
pub(crate) fn spawn_self(
    arguments: &[CString],
    environment: &[CString],
    inherited: &[BorrowedFd<'_>],
) -> io::Result<u32> {
    let mut actions = Actions::new()?;
    for descriptor in inherited {
        actions.keep(*descriptor)?;
    }
    let attributes = Attributes::with_default_signals()?;
    let arguments = pointers(arguments);
    let environment = pointers(environment);
    let mut pid = 0;
    // SAFETY: actions and attributes are initialised; both lists end with null and point to strings that live until the
    // end of this function.
    check(unsafe {
        libc::posix_spawn(
            &mut pid,
            THIS_EXECUTABLE.as_ptr(),
            &actions.0,
            &attributes.0,
            arguments.as_ptr(),
            environment.as_ptr(),
        )
    })?;
    Ok(pid.unsigned_abs())
}

/// What libc wants: pointers, and null at the end. It does not write through them.
fn pointers(strings: &[CString]) -> Vec<*mut c_char> {
    let each = strings.iter().map(|string| string.as_ptr().cast_mut());
    each.chain([null_mut()]).collect()
}

/// These calls return the error number itself.
fn check(errno: i32) -> io::Result<()> {
    match errno {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

struct Actions(libc::posix_spawn_file_actions_t);

impl Actions {
    fn new() -> io::Result<Actions> {
        let mut actions = MaybeUninit::uninit();
        // SAFETY: room for one, which the call initialises.
        check(unsafe { libc::posix_spawn_file_actions_init(actions.as_mut_ptr()) })?;
        // SAFETY: initialised, since the call succeeded.
        Ok(Actions(unsafe { actions.assume_init() }))
    }

    /// A duplicate onto its own number clears close-on-exec, and in the child alone.
    fn keep(&mut self, descriptor: BorrowedFd<'_>) -> io::Result<()> {
        let number = descriptor.as_raw_fd();
        // SAFETY: the list is initialised.
        check(unsafe { libc::posix_spawn_file_actions_adddup2(&mut self.0, number, number) })
    }
}

impl Drop for Actions {
    fn drop(&mut self) {
        // SAFETY: initialised, and not used again.
        unsafe { libc::posix_spawn_file_actions_destroy(&mut self.0) };
    }
}

struct Attributes(libc::posix_spawnattr_t);

impl Attributes {
    fn with_default_signals() -> io::Result<Attributes> {
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: room for one, which the call initialises.
        check(unsafe { libc::posix_spawnattr_init(attributes.as_mut_ptr()) })?;
        // SAFETY: initialised, since the call succeeded.
        let mut attributes = Attributes(unsafe { attributes.assume_init() });
        let flags = libc::POSIX_SPAWN_SETSIGMASK | libc::POSIX_SPAWN_SETSIGDEF;
        // SAFETY: the attributes are initialised.
        check(unsafe { libc::posix_spawnattr_setflags(&mut attributes.0, flags as i16) })?;
        // SAFETY: the attributes and the set are initialised.
        check(unsafe { libc::posix_spawnattr_setsigmask(&mut attributes.0, &signals::none()) })?;
        // SAFETY: the attributes and the set are initialised.
        check(unsafe { libc::posix_spawnattr_setsigdefault(&mut attributes.0, &signals::all()) })?;
        Ok(attributes)
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: initialised, and not used again.
        unsafe { libc::posix_spawnattr_destroy(&mut self.0) };
    }
}
