//! Runs a command for a bounded time: a hung test ends in a message that names what hung, never in a hung machine.

use std::fs;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

/// The process group of the command that runs now, for the signal handler; 0 = none.
static RUNNING: AtomicI32 = AtomicI32::new(0);

/// The three calls that std has no word for.
mod c {
    unsafe extern "C" {
        pub(super) fn kill(pid: i32, signal: i32) -> i32;
        pub(super) fn signal(signal: i32, handler: extern "C" fn(i32)) -> usize;
        pub(super) fn _exit(status: i32) -> !;
    }
    pub(super) const SIGHUP: i32 = 1;
    pub(super) const SIGINT: i32 = 2;
    pub(super) const SIGKILL: i32 = 9;
    pub(super) const SIGTERM: i32 = 15;
}

fn kill_group(group: i32) {
    // SAFETY: `kill` takes two integers and touches no memory; the group is one that this program made.
    unsafe { c::kill(-group, c::SIGKILL) };
}

extern "C" fn on_signal(signal: i32) {
    let group = RUNNING.load(Ordering::SeqCst);
    if group > 0 {
        kill_group(group);
    }
    // SAFETY: `_exit` is async-signal-safe and does not return.
    unsafe { c::_exit(128 + signal) }
}

/// Commands run in process groups of their own, which Ctrl-C does not reach: end them when we are told to end.
pub(crate) fn end_children_with_us() {
    for signal in [c::SIGHUP, c::SIGINT, c::SIGTERM] {
        // SAFETY: the handler makes async-signal-safe calls alone (an atomic load, `kill`, `_exit`).
        unsafe { c::signal(signal, on_signal) };
    }
}

/// Why a command did not end well.
#[derive(Debug)]
pub(crate) enum Failure {
    NotStarted(std::io::Error),
    Ended(ExitStatus),
    TimedOut(Duration),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::NotStarted(error) => write!(f, "could not be started: {error}"),
            Failure::Ended(status) => match (status.code(), status.signal()) {
                (Some(code), _) => write!(f, "exit status {code}"),
                (None, Some(signal)) => write!(f, "killed by signal {signal}"),
                (None, None) => write!(f, "{status}"),
            },
            Failure::TimedOut(limit) => {
                write!(f, "killed: still running after {} s", limit.as_secs())
            }
        }
    }
}

/// Runs `command` to its end, its output going where ours goes. After `limit` everything it has started is killed, and
/// what was running then is printed.
pub(crate) fn run(mut command: Command, limit: Duration) -> Result<(), Failure> {
    let began = Instant::now();
    let mut child = command
        .process_group(0)
        .stdin(Stdio::null())
        .spawn()
        .map_err(Failure::NotStarted)?;
    let group = i32::try_from(child.id()).expect("a pid is a positive i32");
    RUNNING.store(group, Ordering::SeqCst);
    let outcome = loop {
        match child.try_wait().map_err(Failure::NotStarted)? {
            Some(status) if status.success() => break Ok(()),
            Some(status) => break Err(Failure::Ended(status)),
            None if began.elapsed() >= limit => {
                print_group(group);
                kill_group(group);
                // The leader is our child and has been killed: this ends.
                let _ = child.wait();
                break Err(Failure::TimedOut(limit));
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    // Whoever it left behind would hold our output open.
    kill_group(group);
    RUNNING.store(0, Ordering::SeqCst);
    outcome
}

/// Prints the processes of a group with their threads, which libtest names after the tests they run.
fn print_group(group: i32) {
    eprintln!("\nxtask: time is up; these were running:");
    let Ok(processes) = fs::read_dir("/proc") else {
        return;
    };
    for process in processes.flatten() {
        let folder = process.path();
        let Ok(stat) = fs::read_to_string(folder.join("stat")) else {
            continue; // not a process, or gone
        };
        // The fields after the name, which is in brackets and may hold anything: state, parent, group.
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        if fields.get(2).and_then(|field| field.parse::<i32>().ok()) != Some(group) {
            continue;
        }
        let command = fs::read(folder.join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        eprintln!(
            "  {} [{}] {command}",
            process.file_name().display(),
            fields[0]
        );
        for thread in fs::read_dir(folder.join("task"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let read = |name| fs::read_to_string(thread.path().join(name)).unwrap_or_default();
            let (name, sleeps_in) = (read("comm"), read("wchan"));
            eprintln!(
                "      thread {} {} in {}",
                thread.file_name().display(),
                name.trim(),
                if sleeps_in.is_empty() {
                    "?"
                } else {
                    &sleeps_in
                },
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn the_exit_status_is_reported() {
        assert!(run(shell("exit 0"), Duration::MAX).is_ok());
        let failure = run(shell("exit 3"), Duration::MAX).unwrap_err();
        assert_eq!(failure.to_string(), "exit status 3");
        let failure = run(shell("kill -9 $$"), Duration::MAX).unwrap_err();
        assert_eq!(failure.to_string(), "killed by signal 9");
        let failure = run(Command::new("/does/not/exist"), Duration::MAX).unwrap_err();
        assert!(matches!(failure, Failure::NotStarted(_)));
    }

    /// The pipe ends only when the last process that holds it is gone: the hung command's own children too.
    #[test]
    fn a_hung_command_dies_with_all_it_started() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let mut command = shell("sleep 100000 & sleep 100000");
        command.stdout(writer);
        let failure = run(command, Duration::from_millis(300)).unwrap_err();
        assert!(matches!(failure, Failure::TimedOut(_)), "{failure}");
        assert_eq!(reader.read_to_end(&mut Vec::new()).unwrap(), 0);
    }

    #[test]
    fn what_a_command_leaves_behind_dies_as_well() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let mut command = shell("sleep 100000 &");
        command.stdout(writer);
        run(command, Duration::MAX).unwrap();
        assert_eq!(reader.read_to_end(&mut Vec::new()).unwrap(), 0);
    }
}
