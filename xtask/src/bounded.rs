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
    /// After so long; and what was running then, line by line.
    TimedOut(Duration, Vec<String>),
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
            Failure::TimedOut(limit, running) => {
                write!(f, "killed: still running after {} s", limit.as_secs())?;
                let shown = running.iter().take(MOST_LINES);
                shown
                    .into_iter()
                    .try_for_each(|line| write!(f, "\n    {line}"))?;
                match running.len().saturating_sub(MOST_LINES) {
                    0 => Ok(()),
                    more => write!(f, "\n    and {more} lines more, where it was killed"),
                }
            }
        }
    }
}

/// Runs `command` to its end, its output going where ours goes. After `limit` everything it has started is killed, and
/// what was running then is printed, and is part of the failure.
pub(crate) fn run(mut command: Command, limit: Duration) -> Result<(), Failure> {
    let began = Instant::now();
    let tag = Tag::new();
    let mut child = command
        .env(TAG, &tag.0)
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
                let running = family(group, &tag);
                let lines: Vec<String> = running.iter().flat_map(Running::lines).collect();
                eprintln!("\nxtask: time is up; these were running:");
                lines.iter().for_each(|line| eprintln!("  {line}"));
                kill_group(group);
                running.iter().for_each(|process| process.kill(&tag));
                // The leader is our child and has been killed: this ends.
                let _ = child.wait();
                break Err(Failure::TimedOut(limit, lines));
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    // Whoever it left behind would hold our output open.
    kill_group(group);
    RUNNING.store(0, Ordering::SeqCst);
    outcome
}

/// The environment variable by which what a command has started is known, in whatever session and group it is by now.
const TAG: &str = "XTASK_COMMAND";

/// Its value, another one for each command.
struct Tag(String);

impl Tag {
    fn new() -> Tag {
        static LAST: AtomicI32 = AtomicI32::new(0);
        let number = LAST.fetch_add(1, Ordering::SeqCst);
        Tag(format!("{}-{number}", std::process::id()))
    }

    /// Whether a process of this number was started with it.
    fn is_on(&self, pid: i32) -> bool {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let entry = format!("{TAG}={}", self.0);
        environment
            .split(|byte| *byte == 0)
            .any(|it| it == entry.as_bytes())
    }
}

/// A process that has not ended.
struct Running {
    pid: i32,
    parent: i32,
    group: i32,
    state: String,
}

impl Running {
    fn look(pid: i32) -> Option<Running> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The fields after the name, which is in brackets and may hold anything.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        Some(Running {
            pid,
            state: fields.next()?.to_owned(),
            parent: fields.next()?.parse().ok()?,
            group: fields.next()?.parse().ok()?,
        })
    }

    /// The process and its threads, which libtest names after the tests they run, each with where in the kernel it sleeps.
    fn lines(&self) -> Vec<String> {
        let folder = format!("/proc/{}", self.pid);
        let command = fs::read(format!("{folder}/cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        let mut words = command.split(' ');
        let program = words.next().unwrap_or("").rsplit('/').next().unwrap_or("");
        let command: String = [program]
            .into_iter()
            .chain(words)
            .collect::<Vec<_>>()
            .join(" ");
        let short: String = command.trim().chars().take(LONGEST_COMMAND).collect();
        let mut lines = vec![format!("{} [{}] {short}", self.pid, self.state)];
        let threads = fs::read_dir(format!("{folder}/task"));
        let mut threads: Vec<_> = threads.into_iter().flatten().flatten().collect();
        threads.sort_by_key(|thread| thread.file_name());
        let threads = threads.iter().map(|thread| {
            let read = |name| fs::read_to_string(thread.path().join(name)).unwrap_or_default();
            let (name, sleeps_in) = (read("comm"), read("wchan"));
            let sleeps_in = match &*sleeps_in {
                "" | "0" => "?",
                known => known,
            };
            format!("{} in {sleeps_in}", name.trim())
        });
        lines.extend(threads.map(|thread| format!("    {thread}")));
        lines
    }

    fn kill(&self, tag: &Tag) {
        // One that has ended meanwhile may have left its number to somebody else.
        if tag.is_on(self.pid) {
            // SAFETY: `kill` takes two integers and touches no memory.
            unsafe { c::kill(self.pid, c::SIGKILL) };
        }
    }
}

/// More of the list than this is not part of the failure.
const MOST_LINES: usize = 80;
/// More of a command line is seldom worth reading.
const LONGEST_COMMAND: usize = 100;

/// The processes of a group, and whatever has left it: who descends from them, or was started with the tag.
fn family(group: i32, tag: &Tag) -> Vec<Running> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut others: Vec<Running> = processes
        .filter_map(|process| Running::look(process.file_name().to_str()?.parse().ok()?))
        .collect();
    let mut family = Vec::new();
    loop {
        let (more, rest): (Vec<_>, Vec<_>) = others.into_iter().partition(|process| {
            let is_child = |of: &Running| of.pid == process.parent;
            process.group == group || family.iter().any(is_child) || tag.is_on(process.pid)
        });
        if more.is_empty() {
            break;
        }
        family.extend(more);
        others = rest;
    }
    family.sort_by_key(|process| process.pid);
    family
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
        assert!(matches!(failure, Failure::TimedOut(..)), "{failure}");
        assert_eq!(reader.read_to_end(&mut Vec::new()).unwrap(), 0);
    }

    #[test]
    fn the_failure_names_what_hung_and_what_left_the_group() {
        // The first leaves session and group, the second also its parent.
        let script = "setsid sleep 100001 & (setsid sleep 100002 &); exec sleep 100003";
        let names_all = |limit| {
            let (mut reader, writer) = std::io::pipe().unwrap();
            let mut command = shell(script);
            command.stdout(writer);
            let text = run(command, Duration::from_secs(limit))
                .unwrap_err()
                .to_string();
            assert_eq!(reader.read_to_end(&mut Vec::new()).unwrap(), 0);
            assert!(
                text.starts_with(&format!("killed: still running after {limit} s\n")),
                "{text}"
            );
            (100_001..=100_003)
                .all(|number| text.contains(&format!("] sleep {number}\n        sleep in ")))
        };
        // On a slow machine they are not there that soon.
        assert!([1, 4, 16, 64].into_iter().any(names_all));
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
