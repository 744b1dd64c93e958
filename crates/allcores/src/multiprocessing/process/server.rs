//! One fork server, as the process that it serves holds it: started, asked, ended.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::Duration;

use super::children::{self, Exit, Newborn};
use super::error::ForkServerError;
use super::start;
use super::status::Teller;
use super::wire::{self, Hello, Inherited, Reply, Request, Role, Serve, Strings, Unpacked};
use crate::registry;
use crate::sys::clock::Deadline;
use crate::sys::pidfd::{self, Collected, Ending};
use crate::sys::standing::{Place, Standing};
use crate::sys::surroundings::{self, Surroundings};
use crate::sys::{exec, fds, image};

pub(super) struct Server {
    pub(super) requests: OwnedFd,
    pub(super) process: Arc<OwnedFd>,
    pub(super) standing: Standing,
    environment: Vec<u8>,
    pub(super) kernel_tells: bool,
    /// What its children have if nobody tells them otherwise: its own.
    its: Option<(Place, Surroundings)>,
    /// Our ends of the control sockets of children that were asked for and whose replies have not been read.
    asked: VecDeque<OwnedFd>,
}

/// How long a server that has closed its socket, or has lost it, may take to end.
pub(super) const GRACE: Duration = Duration::from_secs(1);

/// An environment of more bytes goes through a file.
const LONG: usize = 16 * 1024;

/// Why a server gave no child.
pub(super) enum Trouble {
    /// It has come to an end, by a signal or in the middle of what was asked.
    Gone,
    Error(ForkServerError),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Trouble {
        Trouble::Error(error.into())
    }
}

/// This process's environment, with a NUL behind each entry.
fn environment() -> Vec<u8> {
    let mut block = Vec::with_capacity(4096);
    if surroundings::this_thread_is_alone() {
        // SAFETY: no other thread changes it.
        unsafe { surroundings::environment(&mut block) };
        return block;
    }
    for (name, value) in std::env::vars_os() {
        let parts: [&OsStr; 4] = [&name, "=".as_ref(), &value, "\0".as_ref()];
        for part in parts {
            block.extend_from_slice(part.as_bytes());
        }
    }
    block
}

impl Server {
    /// Starts one, which runs the function at `preload` first, and waits until it serves.
    pub(super) fn start(standing: Standing, preload: Option<u64>) -> Result<Server, Trouble> {
        if image::is_privileged() {
            let reason = "this program runs with more rights than the user who started it, and believes nobody who tells it what to do".into();
            return Err(Trouble::Error(ForkServerError::Unfit { reason }));
        }
        let (requests, theirs) = fds::packet_pair()?;
        let image =
            image::main_executable().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let arena = registry::descriptor_for_child();
        let serve = Serve {
            version: wire::VERSION,
            fingerprint: image.fingerprint().to_vec(),
            preload,
            has_arena: arena.is_some(),
        };
        let mut descriptors = vec![children::my_pidfd()?];
        descriptors.extend(arena.as_ref().map(AsFd::as_fd));
        let environment = environment();

        let theirs = start::above_standard_streams(theirs)?;
        let marker = start::marker_for(Role::Zygote, &theirs)?;
        let pid = exec::spawn_self(
            &start::arguments_of_this_process(),
            &start::environment(&marker),
            &[theirs.as_fd()],
        )?;
        drop(theirs);
        // It waits for its orders, so that it is there still, and the number its own.
        let process = match pidfd::open(pid) {
            Ok(process) => Arc::new(process),
            Err(error) => {
                start::give_up(pid);
                return Err(error.into());
            }
        };
        let mut server = Server {
            requests,
            process,
            standing,
            environment,
            kernel_tells: false,
            its: None,
            asked: VecDeque::new(),
        };
        let hello = match wire::send_whole(server.requests.as_fd(), &serve, &descriptors) {
            Ok(()) => server.hear::<Hello>(|_| 0),
            Err(error) => Err(gone_or(error)),
        };
        let hello = match hello {
            Ok(message) => message.what,
            Err(trouble) => return Err(server.end(trouble)),
        };
        let error = match hello {
            Hello::Ready {
                kernel_tells,
                directory,
                surroundings,
            } => {
                server.kernel_tells = kernel_tells;
                server.its = Some((directory, *surroundings));
                return Ok(server);
            }
            Hello::Threads { more, by_preload } => ForkServerError::Threads { more, by_preload },
            Hello::PreloadPanicked { message, location } => {
                ForkServerError::PreloadPanicked { message, location }
            }
            Hello::Unfit { reason } => ForkServerError::Unfit { reason },
        };
        Err(server.end(Trouble::Error(error)))
    }

    /// Ends a server that has not come to serve, and collects it. One that has exited by itself has a reason of its own.
    fn end(self, trouble: Trouble) -> Trouble {
        let process = self.process.as_fd();
        drop(self.requests);
        // At the end of its socket it is about to end, and its code tells why.
        let ends = matches!(trouble, Trouble::Gone)
            && fds::wait_readable(process, Deadline::after(GRACE)).unwrap_or(false);
        if !ends {
            let _ = pidfd::signal(process, rustix::process::Signal::KILL);
        }
        match (trouble, pidfd::collect(process, true)) {
            (Trouble::Gone, Ok(Collected::Ended(Ending::Code(code)))) => {
                Trouble::Error(ForkServerError::Ended {
                    exit: Exit::Code(code),
                })
            }
            (trouble, _) => trouble,
        }
    }

    /// Its next message. Its children hold its end of the socket for a moment, so its own end is looked for as well.
    fn hear<T: for<'de> serde::Deserialize<'de>>(
        &self,
        ours: impl Fn(&T) -> usize,
    ) -> Result<Unpacked<T>, Trouble> {
        let (requests, process) = (self.requests.as_fd(), self.process.as_fd());
        let mut buffer = [0; wire::MOST_PACKET];
        // It is there already, if the child was made ahead.
        let mut waited = false;
        loop {
            match wire::receive_whole_now(requests, &mut buffer, &ours) {
                Ok(Some(message)) => return Ok(message),
                Ok(None) => return Err(Trouble::Gone),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && !waited => {}
                Err(error) => return Err(gone_or(error)),
            }
            if fds::wait_either(requests, process, Deadline::NEVER)? != Some(fds::First::One) {
                return Err(Trouble::Gone);
            }
            waited = true;
        }
    }

    /// How many children were asked for that have not been looked at.
    pub(super) fn asked(&self) -> usize {
        self.asked.len()
    }

    /// Asks for a child that will have the second of these ends, without waiting for the answer.
    pub(super) fn ask(&mut self, (ours, its): (OwnedFd, OwnedFd)) -> Result<(), Trouble> {
        wire::send_whole(self.requests.as_fd(), Request, &[its.as_fd()]).map_err(gone_or)?;
        self.asked.push_back(ours);
        Ok(())
    }

    /// A child that was asked for: the first of them.
    pub(super) fn answer(&mut self) -> Result<Newborn, Trouble> {
        let Some(control) = self.asked.pop_front() else {
            return Err(io::Error::from(io::ErrorKind::NotFound).into());
        };
        let told = 1 + usize::from(!self.kernel_tells);
        let Unpacked { what, ours, .. } =
            self.hear::<Reply>(|reply| if reply.is_ok() { told } else { 0 })?;
        let pid = what.map_err(io::Error::from_raw_os_error)?;
        let mut ours = ours.into_iter();
        let Some(pidfd) = ours.next() else {
            return Err(io::Error::from_raw_os_error(libc::EMFILE).into());
        };
        let server = self.process.clone();
        let teller = match (self.kernel_tells, ours.next()) {
            (true, _) => Teller::Kernel(server),
            (false, Some(pipe)) => Teller::Server { pipe, server },
            (false, None) => return Err(io::Error::from_raw_os_error(libc::EMFILE).into()),
        };
        Ok(Newborn {
            pid,
            pidfd,
            control,
            teller,
        })
    }

    /// Whether what the server does has to wait for the thread with these `surroundings`, and that for it.
    pub(super) fn shares_one_cpu(&self, surroundings: &Surroundings) -> bool {
        self.its
            .as_ref()
            .is_some_and(|(_, its)| its.share_one_cpu(surroundings))
    }

    /// What a child of this thread, which has these `surroundings`, would inherit and the server's have not; and the
    /// descriptors that go with it.
    pub(super) fn inherited(&self, surroundings: Surroundings) -> io::Result<(Inherited, With)> {
        let streams = [0, 1, 2].map(surroundings::hands_down);
        let here = Place::here()?;
        let its = self.its.as_ref();
        let another_directory = its.is_none_or(|(directory, _)| *directory != here);
        let others = its.is_none_or(|(_, its)| *its != surroundings);
        let mut with = With {
            directory: another_directory
                .then(surroundings::working_directory)
                .transpose()?,
            streams: streams.into_iter().flatten().collect(),
            environment: None,
        };
        let environment = environment();
        let environment = match environment.len() {
            _ if environment == self.environment => Strings::Same,
            ..=LONG => Strings::Here(environment),
            length => {
                with.environment = Some(fds::file_holding(&environment)?);
                Strings::InFile(length as u64)
            }
        };
        let inherited = Inherited {
            another_directory,
            surroundings: others.then_some(surroundings),
            streams: streams.map(|stream| stream.is_some()),
            environment,
        };
        Ok((inherited, with))
    }
}

/// The descriptors that go with an [`Inherited`].
pub(super) struct With {
    directory: Option<OwnedFd>,
    streams: Vec<BorrowedFd<'static>>,
    environment: Option<OwnedFd>,
}

impl With {
    pub(super) fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let mut all = self.streams.clone();
        all.extend(self.directory.as_ref().map(AsFd::as_fd));
        all.extend(self.environment.as_ref().map(AsFd::as_fd));
        all
    }
}

fn gone_or(error: io::Error) -> Trouble {
    match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Trouble::Gone,
        _ => Trouble::Error(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_is_a_block_of_entries() {
        let block = environment();
        let mut again = Vec::new();
        // SAFETY: nobody changes the environment in these tests.
        unsafe { surroundings::environment(&mut again) };
        assert_eq!(block, again);
        let entries: Vec<_> = block.split_inclusive(|byte| *byte == 0).collect();
        assert_eq!(entries.len(), std::env::vars_os().count());
        assert!(
            entries
                .iter()
                .all(|entry| entry.ends_with(&[0]) && entry.contains(&b'='))
        );
    }
}
