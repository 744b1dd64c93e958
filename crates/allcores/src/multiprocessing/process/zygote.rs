//! The fork server itself: a process of one thread, which forks on request, and ends when the process that is served does. In
//! each child that thread is the first and only one, as in a spawned process, and nothing has to be started any more. (A
//! second thread would cost each of them the fork and the end of its stack: a tenth of a start.)

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};

use super::child;
use super::wire::{self, Hello, Reply, Report, Serve, Unpacked};
use crate::registry;
use crate::sys::clock::Deadline;
use crate::sys::fds::First;
use crate::sys::fork::{self, Forked};
use crate::sys::standing::Place;
use crate::sys::surroundings::{self, Surroundings, UmaskTeller};
use crate::sys::{code, fds, image, pidfd, signals};

/// Set while this process is a fork server.
static IS_ZYGOTE: AtomicBool = AtomicBool::new(false);

/// Whether this process is a fork server: code that runs here is a preload function's.
pub(super) fn is_zygote() -> bool {
    IS_ZYGOTE.load(Relaxed)
}

/// Threads of the server's own.
const OWN_THREADS: usize = 1;
/// A process that starts so many will start more: it takes a few milliseconds, and memory.
const WORTHWHILE: u32 = 2;
/// How often a child that was killed before it could be named is made anew.
const ATTEMPTS: usize = 3;
/// How long a thread that has been joined may take to leave the process: after the preload function, and before it, where
/// whoever has threads of constructors has them for good, and spawns instead.
const LEAVING: [Duration; 2] = [Duration::from_secs(1), Duration::from_millis(20)];

/// Serves to the end, with the process's first thread.
pub(super) fn serve(requests: OwnedFd) -> ! {
    // Whatever is sent to the whole group is for the program: it ends the one we serve, and with that us.
    signals::block_all();
    IS_ZYGOTE.store(true, Relaxed);
    let mut buffer = vec![0; 4096];
    let ours = |serve: &Serve| 1 + usize::from(serve.has_arena);
    // The one that we were to serve is gone, or gave up.
    let Ok(Some(orders)) = wire::receive_whole(requests.as_fd(), &mut buffer, ours) else {
        fork::leave(0);
    };
    let Unpacked { what, ours, .. } = orders;
    // For ever: children close their copies by number.
    let requests: &'static OwnedFd = Box::leak(Box::new(requests));
    let unfit = |reason: String| -> ! {
        let _ = wire::send_whole(requests.as_fd(), &Hello::Unfit { reason }, &[]);
        fork::leave(0)
    };
    let mut ours = ours.into_iter();
    let Some(served) = ours.next() else {
        unfit("the descriptor of its process is missing: too many open files?".into());
    };
    let served: &'static OwnedFd = Box::leak(Box::new(served));
    // Not mapped before somebody uses it, which is nobody as a rule: only a preload function could.
    ours.next()
        .into_iter()
        .for_each(registry::adopt_from_parent);
    let zygote = Zygote { requests, served };
    let _ = rustix::thread::set_name(c"allcores-zygote");
    // Until it says that it is ready nothing looks for the end of the process that is served. Its thread waits for that,
    // so that the end of one is that of the other.
    if !crate::sync::sleep::deaf() {
        signals::end_with_parent(true);
        if fds::wait_readable(served, Deadline::NOW).unwrap_or(true) {
            fork::leave(0);
        }
    }
    zygote.run(&what)
}

/// The process that we served is gone, or has let go of us.
fn leave_unless_deaf() -> ! {
    // The control of the tests that kill must see one that stays.
    while crate::sync::sleep::deaf() {
        std::thread::park();
    }
    fork::leave(0)
}

#[derive(Clone, Copy)]
struct Zygote {
    requests: &'static OwnedFd,
    served: &'static OwnedFd,
}

/// Statuses to be told, where the kernel does not.
struct Ledger {
    /// Readable when a child has ended.
    ended: OwnedFd,
    children: Vec<(u32, OwnedFd)>,
}

/// What each child is given, made once.
struct Child<'a> {
    /// What it has round it until it is told what its parent has.
    mine: &'a Surroundings,
    name: Option<CString>,
}

impl Zygote {
    fn run(self, orders: &Serve) -> ! {
        let ledger = match self.prepare(orders) {
            Ok(ledger) => ledger,
            Err(why_not) => {
                let _ = wire::send_whole(self.requests.as_fd(), &why_not, &[]);
                fork::leave(0);
            }
        };
        signals::end_with_parent(false);
        let ready = self.ready(ledger.is_none());
        match ready {
            Ok(mine) => self.attend(&mine, ledger),
            Err(_) => fork::leave(1),
        }
    }

    /// Says that it forks from now on, and what each child has round it until it is told what its parent has.
    fn ready(self, kernel_tells: bool) -> io::Result<Surroundings> {
        surroundings::silence()?;
        let mine = Surroundings::of_this_thread(&UmaskTeller::new()?)?;
        let hello = Hello::Ready {
            kernel_tells,
            directory: Place::here()?,
            surroundings: Box::new(mine.clone()),
        };
        wire::send_whole(self.requests.as_fd(), &hello, &[])?;
        Ok(mine)
    }

    fn prepare(self, orders: &Serve) -> Result<Option<Ledger>, Hello> {
        let unfit = |reason: &str| Hello::Unfit {
            reason: reason.to_owned(),
        };
        let image = image::main_executable()
            .ok_or_else(|| unfit("the executable's program headers are not to be found"))?;
        if orders.version != wire::VERSION || orders.fingerprint != image.fingerprint() {
            return Err(unfit("its executable is another build"));
        }
        only_our_threads(false)?;
        if let Some(offset) = orders.preload {
            let code = image.code_at(offset);
            let code =
                code.ok_or_else(|| unfit("the preload function is not in the executable"))?;
            // SAFETY: the process that we serve runs the same build, checked just now, and took the offset from such a
            // function in its own copy of this image; nobody else has the other end of the socket.
            self.run_preload(unsafe { std::mem::transmute::<usize, fn()>(code) })?;
            only_our_threads(true)?;
            signals::forget_handlers();
            signals::block_all();
        }
        if !must_tell() {
            return Ok(None);
        }
        match signals::child_teller() {
            Ok(ended) => Ok(Some(Ledger {
                ended,
                children: Vec::new(),
            })),
            Err(error) => Err(unfit(&error.to_string())),
        }
    }

    fn run_preload(self, preload: fn()) -> Result<(), Hello> {
        let panicked = |report| match report {
            Report::Panicked { message, location } => Hello::PreloadPanicked { message, location },
            other => Hello::Unfit {
                reason: format!("{other:?}"),
            },
        };
        // Said at once where a panic is the end.
        child::watch_for_panics(move |report| {
            let _ = wire::send_whole(self.requests.as_fd(), panicked(report), &[]);
        });
        let outcome = catch_unwind(AssertUnwindSafe(preload));
        // What it has printed must not be printed by each child again.
        let _ = io::Write::flush(&mut io::stdout());
        fds::flush_c_streams();
        outcome.map_err(|payload| panicked(child::panic_report(payload)))
    }

    /// Forks on request, until there are none any more.
    fn attend(self, mine: &Surroundings, mut ledger: Option<Ledger>) -> ! {
        signals::collect_children_at_once(ledger.is_none());
        let name = program_name();
        let child = Child { mine, name };
        // For all that come after, too.
        child::watch_for_panics(child::say_panic);
        let (requests, served) = (self.requests.as_fd(), self.served.as_fd());
        let mut buffer = [0; 64];
        child::rehearse();
        let mut requests_met = 0;
        loop {
            // Whoever else holds copies of the far end: the end of the process that is served is ours.
            let waited = match &mut ledger {
                Some(ledger) => ledger.tell_until(requests, served),
                None => fds::wait_either(requests, served, Deadline::NEVER),
            };
            if !matches!(waited, Ok(Some(First::One))) {
                leave_unless_deaf();
            }
            // A request says nothing but that it is one.
            let mut control = Only(None);
            match fds::receive_now(requests, &mut buffer, &mut control) {
                Ok(request) if request.bytes != 0 => {}
                _ => break,
            }
            let reply = match self.fork(&child, control.0, &mut ledger) {
                Ok((pid, process, None)) => self.reply(Ok(pid), &[process.as_fd()]),
                Ok((pid, process, Some(pipe))) => {
                    self.reply(Ok(pid), &[process.as_fd(), pipe.as_fd()])
                }
                Err(error) => self.reply(Err(error.raw_os_error().unwrap_or(0)), &[]),
            };
            if reply.is_err() {
                break;
            }
            requests_met += 1;
            if requests_met == WORTHWHILE {
                // SAFETY: there is no other thread.
                unsafe { code::gather() };
            }
        }
        // Nobody asks any more; whoever waits for a status is told it.
        if let Some(ledger) = &mut ledger {
            ledger.tell_all();
        }
        leave_unless_deaf()
    }

    fn reply(self, reply: Reply, with: &[BorrowedFd<'_>]) -> io::Result<()> {
        wire::send_small(self.requests.as_fd(), reply, with)
    }

    /// A child that waits for its orders at `control`, and the descriptors that go with its number.
    fn fork(
        self,
        child: &Child<'_>,
        control: Option<OwnedFd>,
        ledger: &mut Option<Ledger>,
    ) -> io::Result<(u32, OwnedFd, Option<OwnedFd>)> {
        let control = control.ok_or_else(|| io::Error::from_raw_os_error(libc::EMFILE))?;
        for _ in 0..ATTEMPTS {
            let status = ledger
                .is_some()
                .then(fds::pipe_without_waiting)
                .transpose()?;
            // SAFETY: there is no other thread.
            let pid = match unsafe { fork::fork() }? {
                Forked::Child => {
                    // Where there is none nothing is written: another page would be copied.
                    if ledger.is_some() {
                        drop((status, ledger.take()));
                    }
                    self.become_child(child, control)
                }
                Forked::Parent(pid) => pid,
            };
            match (&mut *ledger, status) {
                // Its number is its own until we collect it.
                (Some(ledger), Some((pipe, write))) => {
                    ledger.children.push((pid, write));
                    return Ok((pid, pidfd::open(pid)?, Some(pipe)));
                }
                _ => {
                    if let Some(process) = pidfd::open_child(pid)? {
                        return Ok((pid, process, None));
                    }
                    // Somebody has killed it already. It had no orders.
                }
            }
        }
        Err(io::Error::from_raw_os_error(libc::ESRCH))
    }

    /// In the child: waits for orders, and lives.
    fn become_child(self, given: &Child<'_>, control: OwnedFd) -> ! {
        IS_ZYGOTE.store(false, Relaxed);
        // Its own children are its own to collect.
        signals::collect_children_at_once(false);
        let [_, served] = [self.requests, self.served].map(|descriptor| {
            // SAFETY: this process's copy. The references in the frames below are never used again.
            unsafe { OwnedFd::from_raw_fd(descriptor.as_raw_fd()) }
        });
        // Whoever was to tell us may be gone, and somebody else hold a copy of the far end.
        let waited = fds::wait_either(control.as_fd(), served.as_fd(), Deadline::NEVER);
        if !matches!(waited, Ok(Some(First::One))) {
            fork::leave(0);
        }
        if let Some(name) = &given.name {
            let _ = rustix::thread::set_name(name);
        }
        child::live_on(control, served, given.mine)
    }
}

/// The descriptor that came with a request, kept without a heap, which each child would have a copy of made.
struct Only(Option<OwnedFd>);

impl Extend<OwnedFd> for Only {
    fn extend<T: IntoIterator<Item = OwnedFd>>(&mut self, came: T) {
        came.into_iter()
            .for_each(|descriptor| self.0 = Some(descriptor));
    }
}

/// Whether it is up to us to tell how our children ended. `ALLCORES_NO_PIDFD_INFO=1` makes it so, for tests.
fn must_tell() -> bool {
    std::env::var_os("ALLCORES_NO_PIDFD_INFO").is_some_and(|value| value != "0")
        || !pidfd::tells_endings()
}

/// As the kernel names a process that runs a file of this name: so that `ps` shows children as the program.
fn program_name() -> Option<CString> {
    let path = std::env::args_os().next()?;
    let name = std::path::Path::new(&path).file_name()?.as_bytes();
    CString::new(&name[..name.len().min(15)]).ok()
}

/// That there are no threads whose locks a child would find taken for ever.
fn only_our_threads(by_preload: bool) -> Result<(), Hello> {
    let [after, before] = LEAVING;
    let deadline = Deadline::after(if by_preload { after } else { before });
    loop {
        let threads = std::fs::read_dir("/proc/self/task").map_or(usize::MAX, Iterator::count);
        if threads <= OWN_THREADS {
            return Ok(());
        }
        if deadline.remaining().is_some_and(|left| left.is_zero()) {
            let more = u32::try_from(threads - OWN_THREADS).unwrap_or(u32::MAX);
            return Err(Hello::Threads { more, by_preload });
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

impl Ledger {
    /// Tells what becomes known, until there is something to read at `requests`, or `served` has ended.
    fn tell_until(
        &mut self,
        requests: BorrowedFd<'_>,
        served: BorrowedFd<'_>,
    ) -> io::Result<Option<First>> {
        loop {
            let of = [requests, served, self.ended.as_fd()];
            let mut of = of.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
            fds::poll(&mut of, Deadline::NEVER)?;
            let [asked, over, _] = of.map(|fd| !fd.revents().is_empty());
            self.tell();
            match (asked, over) {
                (true, _) => return Ok(Some(First::One)),
                (_, true) => return Ok(Some(First::Other)),
                (false, false) => {}
            }
        }
    }

    /// Tells until every child has ended.
    fn tell_all(&mut self) {
        self.tell();
        while !self.children.is_empty() && fds::wait_readable(&self.ended, Deadline::NEVER).is_ok()
        {
            self.tell();
        }
    }

    fn tell(&mut self) {
        // It only says that there is something to look for.
        let mut signals = [0; 1024];
        let _ = fds::read_now(self.ended.as_fd(), &mut signals);
        while let Some((pid, ending)) = pidfd::collect_any() {
            let Some(place) = self.children.iter().position(|(child, _)| *child == pid) else {
                continue;
            };
            let (_, pipe) = self.children.swap_remove(place);
            // Whoever is not there to hear it does not want to know.
            let _ = fds::write_now(pipe.as_fd(), &pidfd::status(ending).to_ne_bytes());
        }
    }
}
