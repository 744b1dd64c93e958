//! The child's life: told what to do, it does it, says how it went, and exits.

use std::any::Any;
use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::current::{self, Me, ParentProcess};
use super::daemon;
use super::method;
use super::wire::{self, Boot, Inherited, Location, Parcel, Report, Strings, Unpacked};
use crate::multiprocessing::connection::SendError;
use crate::multiprocessing::connection::stream;
use crate::multiprocessing::transfer::Incoming;
use crate::registry;
use crate::sys::known::Known;
use crate::sys::surroundings::{self, Surroundings};
use crate::sys::{fds, image, signals};

/// Runs one kind of function: what a [`Boot`] points at.
pub(crate) type Trampoline = fn(Call<'_>) -> bool;

/// The arguments, and where to say how it went.
pub(crate) struct Call<'a> {
    arguments: Vec<u8>,
    handles: Incoming,
    control: &'a Control,
}

/// The control socket, seen from the child.
pub(crate) struct Control(OwnedFd);

impl Control {
    /// Says something. A parent that is gone, or that has let go of this process, does not hear it.
    fn say(&self, report: Report) {
        if let Ok(parcel) = Parcel::pack(report, None, Vec::new(), &[]) {
            let _ = parcel.send(self.0.as_fd());
        }
    }

    /// Says why the function is not called.
    fn cannot(&self, reason: String) -> bool {
        self.say(Report::NotRun { reason });
        false
    }

    fn say_result<R: Serialize>(&self, result: &R) -> Result<(), SendError> {
        let (body, mut outgoing) = stream::encode(result, wire::outgoing())?;
        let parcels = outgoing.take_parcels();
        let handles = std::mem::take(&mut outgoing.descriptors);
        Parcel::pack(Report::Returned, Some(&body), Vec::new(), &handles)?.send(self.0.as_fd())?;
        parcels.delivered();
        Ok(())
    }
}

/// An error and its reasons in one line: it is read in another process.
fn in_words(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut reason = error.source();
    while let Some(this) = reason {
        words = format!("{words}: {this}");
        reason = this.source();
    }
    words
}

/// The trampoline of one function type: true if the result is on its way.
pub(crate) fn trampoline<F, A, R>(call: Call<'_>) -> bool
where
    F: Fn(A) -> R + Copy,
    A: DeserializeOwned,
    R: Serialize,
{
    const { assert!(size_of::<F>() == 0) };
    // SAFETY: F has no size, so nothing is read and the pointer need only be aligned; F is Copy, and `Process::new` was
    // given one, so that another may exist.
    let function = unsafe { std::ptr::NonNull::<F>::dangling().read() };
    let arguments = match stream::decode::<A>(&call.arguments, call.handles) {
        Ok(arguments) => arguments,
        Err(error) => {
            return call
                .control
                .cannot(format!("its arguments: {}", in_words(&error)));
        }
    };
    call.control.say(Report::Started);
    let result = function(arguments);
    match call.control.say_result(&result) {
        Ok(()) => true,
        Err(SendError::Io(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => true,
        Err(error) => {
            let reason = in_words(&error);
            call.control.say(Report::ResultNotSent { reason });
            false
        }
    }
}

/// What std's start-up does before `main`, as far as a program can tell.
pub(crate) fn set_up() {
    fds::fill_standard_streams();
    signals::ignore_sigpipe();
}

/// Lives the child's life, with the process's first thread: another one, which std would call `main`, costs a tenth of the
/// whole start, and its stack would not grow by itself.
pub(crate) fn live(control: OwnedFd) -> ! {
    end(catch_unwind(AssertUnwindSafe(|| {
        let Some((orders, control)) = take_orders(control, None) else {
            return false;
        };
        match orders {
            Ok(orders) => orders.carry_out(control),
            Err(reason) => control.cannot(reason),
        }
    })))
}

/// Lives the child's life in a process that was forked with `parent` open, and has `before` round it until it is told what
/// its parent has.
pub(crate) fn live_on(control: OwnedFd, parent: OwnedFd, before: &Surroundings) -> ! {
    end(catch_unwind(AssertUnwindSafe(|| {
        let Some((orders, control)) = take_orders(control, Some((parent, before))) else {
            return false;
        };
        match orders {
            Ok(orders) => orders.carry_out(control),
            Err(reason) => control.cannot(reason),
        }
    })))
}

/// Does in the fork server what is done once in a process, so that none of its children has to: thread locals are made, and
/// what libc binds when it is first called is bound.
pub(super) fn rehearse() {
    if let Ok((nothing, _)) = stream::encode(&(), wire::outgoing()) {
        let _ = stream::decode::<()>(nothing.payload(), Incoming::default());
    }
}

/// The control socket, once there are orders.
static CONTROL: Known<Control> = Known::new();

/// Says a panic, where a panic is the end at once.
pub(super) fn say_panic(panic: Report) {
    if let Some(control) = CONTROL.get() {
        control.say(panic);
    }
}

fn end(done: std::thread::Result<bool>) -> ! {
    std::process::exit(if matches!(done, Ok(true)) { 0 } else { 1 })
}

/// Waits for the orders. `None` if there will be none: the parent is gone, or gave up starting us, and there is nobody to
/// tell.
fn take_orders(
    control: OwnedFd,
    forked: Option<(OwnedFd, &Surroundings)>,
) -> Option<(Result<Orders, String>, &'static Control)> {
    // There is one door, and it closes behind the first.
    let control = CONTROL.get_or(|| Control(control));
    if forked.is_none() {
        watch_for_panics(say_panic);
    }
    let orders = match wire::receive_orders(control.0.as_fd()) {
        Ok(None) => return None,
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return None,
        Err(error) => Err(in_words(&error)),
        Ok(Some((payload, incoming))) => prepare(&payload, incoming, forked),
    };
    Some((orders, control))
}

/// A function, and what it is called with.
struct Orders {
    function: Trampoline,
    arguments: Vec<u8>,
    handles: Incoming,
}

impl Orders {
    fn carry_out(self, control: &'static Control) -> bool {
        let call = Call {
            arguments: self.arguments,
            handles: self.handles,
            control,
        };
        match catch_unwind(AssertUnwindSafe(|| (self.function)(call))) {
            Ok(done) => done,
            Err(payload) => {
                control.say(panic_report(payload));
                false
            }
        }
    }
}

/// Takes the parent at its word, after a look at it.
fn prepare(
    payload: &[u8],
    incoming: Incoming,
    forked: Option<(OwnedFd, &Surroundings)>,
) -> Result<Orders, String> {
    let ours = |boot: &Boot| {
        let of_spawned = 1 + usize::from(boot.has_arena);
        let inherited = boot.inherited.as_ref();
        inherited.map_or(of_spawned, Inherited::descriptors)
    };
    let Unpacked {
        what: boot,
        ours,
        body,
        handles,
    } = wire::unpack(payload, incoming, ours)?;
    let image =
        image::main_executable().ok_or("the executable's program headers are not to be found")?;
    if boot.version != wire::VERSION || boot.fingerprint != image.fingerprint() {
        return Err("its executable is another build than its parent's".into());
    }
    let code = image
        .code_at(boot.offset)
        .ok_or("its function is not in the executable")?;
    // SAFETY: the parent runs the same build (checked just now), and took the offset from a `Trampoline` in its own copy
    // of this image; the control socket is a private pair, so nobody else can have sent this.
    let function = unsafe { std::mem::transmute::<usize, Trampoline>(code) };

    let mut ours = ours.into_iter();
    let (forked, before) = forked.unzip();
    let pidfd = match forked {
        Some(parent) => parent,
        None => ours
            .next()
            .ok_or("the descriptor of its parent is missing: too many open files?")?,
    };
    if boot.has_arena {
        let arena = ours
            .next()
            .ok_or("the descriptor of the arena is missing: too many open files?")?;
        registry::adopt_from_parent(arena);
    }
    if let (Some(inherited), Some(before)) = (boot.inherited, before) {
        inherit(inherited, ours, before)
            .map_err(|(what, error)| format!("{what} could not be taken over: {error}"))?;
    }
    if boot.daemon {
        daemon::watch(&pidfd).map_err(|error| format!("its parent cannot be watched: {error}"))?;
    }
    current::introduce(Me {
        name: boot.name,
        identity: boot.identity,
        daemon: boot.daemon,
        parent: Some(ParentProcess {
            pid: boot.parent_pid,
            name: boot.parent_name,
            pidfd,
        }),
    });
    if let Some(method) = boot.method {
        method::set_start_method(method);
    }
    Ok(Orders {
        function,
        arguments: body,
        handles,
    })
}

/// Takes on what the parent has, in a forked child.
fn inherit(
    inherited: Inherited,
    mut descriptors: impl Iterator<Item = OwnedFd>,
    before: &Surroundings,
) -> Result<(), (&'static str, io::Error)> {
    let mut next = |what| {
        let lost = || (what, io::Error::from_raw_os_error(libc::EMFILE));
        descriptors.next().ok_or_else(lost)
    };
    const STREAMS: &str = "its standard streams";
    for (number, is_open) in (0..).zip(inherited.streams) {
        if is_open {
            let stream = next(STREAMS)?;
            surroundings::redirect(number, &stream).map_err(|error| (STREAMS, error))?;
        }
    }
    if inherited.another_directory {
        const DIRECTORY: &str = "its working directory";
        let directory = next(DIRECTORY)?;
        surroundings::go_to(directory.as_fd()).map_err(|error| (DIRECTORY, error))?;
    }
    const ENVIRONMENT: &str = "its environment";
    let environment = match inherited.environment {
        Strings::Same => None,
        Strings::Here(strings) => Some(strings),
        Strings::InFile(length) => {
            let file = next(ENVIRONMENT)?;
            let strings = fds::contents(file.as_fd(), length as usize);
            Some(strings.map_err(|error| (ENVIRONMENT, error))?)
        }
    };
    if let Some(strings) = environment {
        // SAFETY: this thread is the only one since the fork.
        unsafe { surroundings::replace_environment(strings) };
    }
    if let Some(surroundings) = inherited.surroundings {
        surroundings.take_on(before)?;
    }
    signals::unblock_all();
    Ok(())
}

/// What a panic says.
fn message(payload: &dyn Any) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "(its payload is no text)".to_owned()
    }
}

thread_local! {
    static LAST_PANIC: Cell<Option<Location>> = const { Cell::new(None) };
}

/// The report of a panic that was caught in this thread just now.
pub(super) fn panic_report(payload: Box<dyn Any + Send>) -> Report {
    let message = message(&*payload);
    let location = LAST_PANIC.take();
    // Its drop might panic in turn; the process ends now anyhow.
    std::mem::forget(payload);
    Report::Panicked { message, location }
}

/// Has the place of a panic noted, besides what the hook in force does. Where a panic is the end at once, it is said.
pub(super) fn watch_for_panics(say: impl Fn(Report) + Send + Sync + 'static) {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let location = panic.location().map(|location| Location {
            file: location.file().to_owned(),
            line: location.line(),
            column: location.column(),
        });
        hook(panic);
        if cfg!(panic = "abort") {
            // There is no later.
            let message = message(panic.payload());
            say(Report::Panicked { message, location });
        } else {
            LAST_PANIC.set(location);
        }
    }));
}
