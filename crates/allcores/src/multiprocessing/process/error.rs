//! Why a process could not be started, and what became of one.

use std::io;

use super::children::Exit;
use super::wire::Location;
use crate::multiprocessing::connection::{CodecError, RecvError};
use crate::multiprocessing::transfer::TransferError;

/// Why a process was not started. Nothing is left of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The function is not in the program's executable, where the child would look for it.
    #[error(
        "the function is not in the main executable (it lies in a shared library, or the program was not started in the ordinary way), and the child process could not find it there"
    )]
    NotInExecutable,
    /// A child would run `main` instead of the function.
    #[error(
        "a child process could not be caught before it runs main: this program was built without the feature `pre-main`, so call allcores::init() first in main"
    )]
    NoWayIn,
    /// This process is a fork server, in which a preload function runs.
    #[error("a preload function may not start processes: its process is about to fork")]
    InPreload,
    /// The environment chooses a way to start processes that does not exist.
    #[error(
        "ALLCORES_START_METHOD is {value:?} in the environment: set it to spawn or forkserver, or unset it"
    )]
    UnknownMethod {
        /// What it says.
        value: String,
    },
    /// The fork server was asked for and cannot serve.
    #[error("the process could not be started by the fork server")]
    ForkServer(#[from] ForkServerError),
    /// This process is a child that has not come to its own function.
    #[error(
        "this process was started to run a function and is running main instead: call allcores::init() first in main, or build with the feature `pre-main`"
    )]
    StillAChild,
    /// The arguments do not serialise.
    #[error("the arguments do not serialise from {of}")]
    Encode {
        /// Their type.
        of: &'static str,
        /// What the codec says.
        #[source]
        reason: CodecError,
    },
    /// A handle among the arguments cannot travel.
    #[error(transparent)]
    Transfer(#[from] TransferError),
    /// The name has more than 16,384 bytes.
    #[error("the process's name is too long: {length} bytes, and 16384 are the most")]
    NameTooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// The system refused: no memory, too many processes (RLIMIT_NPROC), too many open files, no /proc.
    #[error("the process could not be started")]
    Io(#[from] io::Error),
}

/// Why the fork server has not made a process.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ForkServerError {
    /// Besides its own there are threads in it, and a child would find what they have locked locked for ever.
    #[error(
        "there are {more} threads in the fork server, left by {}: a forked process would lack them and find their locks taken; {}",
        if *by_preload { "the preload function" } else { "the program's constructors" },
        if *by_preload { "join them before it returns" } else { "choose StartMethod::Spawn" }
    )]
    Threads {
        /// How many.
        more: u32,
        /// Whether it is the preload function that left them; constructors of the program have otherwise.
        by_preload: bool,
    },
    /// The preload function has panicked.
    #[error("the preload function panicked{}: {message}", at(location))]
    PreloadPanicked {
        /// What the panic says; a payload that is no text says so.
        message: String,
        /// Where, unless a panic hook of the program's own hides it.
        location: Option<Location>,
    },
    /// It ended before it served: in the preload function, or in a constructor of the program.
    #[error(
        "the fork server ended before it served ({exit:?}): the preload function or a constructor of the program exits"
    )]
    Ended {
        /// How.
        exit: Exit,
    },
    /// It was killed, and so was the one that took its place.
    #[error("the fork server was killed twice while it was to start the process")]
    Lost,
    /// It cannot begin.
    #[error("there can be no fork server: {reason}; choose StartMethod::Spawn")]
    Unfit {
        /// Why.
        reason: String,
    },
    /// The system refused: no memory, too many processes (RLIMIT_NPROC), too many open files, no /proc.
    #[error("the system refused")]
    Io(#[from] io::Error),
}

/// The function does not lie in the main executable, where the fork server would look for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the preload function is not in the main executable (it lies in a shared library, or the program was not started in the ordinary way)"
)]
pub struct NotInExecutable;

/// Why a process has no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// The function panicked.
    #[error("process {name} panicked{}: {message}", at(location))]
    Panicked {
        /// The process's name.
        name: String,
        /// What the panic says; a payload that is no text says so.
        message: String,
        /// Where, unless a panic hook of the program's own hides it.
        location: Option<Location>,
    },
    /// A signal ended the process.
    #[error("process {name} was ended by signal {signal}{}", named(*signal))]
    Signaled {
        /// The process's name.
        name: String,
        /// The signal's number.
        signal: i32,
    },
    /// The process exited before its function returned.
    #[error("process {name} exited with code {code} before its function returned")]
    Exited {
        /// The process's name.
        name: String,
        /// Its exit code; 0 too, since there is no result.
        code: i32,
    },
    /// The process exited without ever coming to its function.
    #[error(
        "process {name} exited with code {code} and never started its function: its executable was not entered (is it run by a loader or an emulator? does a constructor exit?)"
    )]
    NeverStarted {
        /// The process's name.
        name: String,
        /// Its exit code.
        code: i32,
    },
    /// The process gave up before it called its function.
    #[error("process {name} did not call its function: {reason}")]
    NotRun {
        /// The process's name.
        name: String,
        /// In the child's words: the arguments did not decode, as a rule.
        reason: String,
    },
    /// The function returned, but its result could not be sent.
    #[error("the result of process {name} could not be sent: {reason}")]
    ResultNotSent {
        /// The process's name.
        name: String,
        /// In the child's words.
        reason: String,
    },
    /// The function returned, but its result does not decode here.
    #[error("the result of process {name} could not be received")]
    ResultNotReceived {
        /// The process's name.
        name: String,
        /// Why.
        #[source]
        reason: RecvError,
    },
    /// The result was handed out by an earlier join.
    #[error("the result of process {name} has been taken by an earlier join")]
    ResultTaken {
        /// The process's name.
        name: String,
    },
    /// It left no result, and nobody can say how it ended. Of a spawned one somebody else collected the status: a
    /// `waitpid(-1)` in this program, or SIGCHLD being ignored. Of one that the fork server made, the server was killed
    /// (before Linux 6.15, or under an init that collects nobody).
    #[error(
        "process {name} has ended and nobody can say how: somebody else collected its status (a waitpid(-1) in this program, or SIGCHLD is ignored), or the fork server that was to tell was killed"
    )]
    StatusLost {
        /// The process's name.
        name: String,
    },
    /// A forked copy of the handle: the process is a child of another process.
    #[error(
        "process {name} is no child of this process: the handle was copied by fork, and only its parent can join it"
    )]
    NotOurChild {
        /// The process's name.
        name: String,
    },
    /// The system refused to wait.
    #[error("process {name} could not be waited for")]
    Io {
        /// The process's name.
        name: String,
        /// Why.
        #[source]
        reason: io::Error,
    },
}

fn at(location: &Option<Location>) -> String {
    location
        .as_ref()
        .map_or_else(String::new, |location| format!(" at {location}"))
}

fn named(signal: i32) -> &'static str {
    match signal {
        libc::SIGABRT => " (SIGABRT: abort, also a panic that may not unwind)",
        libc::SIGBUS => " (SIGBUS)",
        libc::SIGFPE => " (SIGFPE)",
        libc::SIGHUP => " (SIGHUP)",
        libc::SIGILL => " (SIGILL)",
        libc::SIGINT => " (SIGINT)",
        libc::SIGKILL => " (SIGKILL: kill(), or the kernel's out-of-memory killer)",
        libc::SIGPIPE => " (SIGPIPE)",
        libc::SIGQUIT => " (SIGQUIT)",
        libc::SIGSEGV => " (SIGSEGV: a memory fault, also an overflow of the stack)",
        libc::SIGTERM => " (SIGTERM)",
        libc::SIGXCPU => " (SIGXCPU: the limit on processor time)",
        _ => "",
    }
}
