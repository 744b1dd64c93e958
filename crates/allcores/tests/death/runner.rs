//! Runs tests one after another, each in a forked process with a limit on its time, and speaks as libtest does.

use std::io::Write;
use std::panic::AssertUnwindSafe;
use std::process::Command;
use std::time::{Duration, Instant};

/// A test and its name.
pub(crate) type Test = (&'static str, fn());

/// What no test needs a tenth of, unless it was asked for more rounds.
const LIMIT: u32 = 900;

/// The `main` of a test program.
pub(crate) fn run(tests: &[Test]) {
    let mut names = Vec::new();
    let (mut list, mut exact, mut ignored) = (false, false, false);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--list" => list = true,
            "--exact" => exact = true,
            "--ignored" => ignored = true,
            "--test-threads" | "--format" | "--color" | "--logfile" => drop(args.next()),
            flag if flag.starts_with('-') => {}
            name => names.push(name.to_owned()),
        }
    }
    let chosen: Vec<&Test> = tests
        .iter()
        .filter(|(name, _)| {
            let fits = |wanted: &String| name == wanted || !exact && name.contains(wanted.as_str());
            !ignored && (names.is_empty() || names.iter().any(fits))
        })
        .collect();
    if list {
        chosen.iter().for_each(|(name, _)| println!("{name}: test"));
        return;
    }
    println!("\nrunning {} tests", chosen.len());
    let began = Instant::now();
    let mut failed = Vec::new();
    for (name, test) in &chosen {
        let good = alone(*test);
        println!("test {name} ... {}", if good { "ok" } else { "FAILED" });
        if !good {
            failed.push(*name);
        }
    }
    if !failed.is_empty() {
        println!("\nfailures:");
        failed.iter().for_each(|name| println!("    {name}"));
    }
    println!(
        "\ntest result: {}. {} passed; {} failed; 0 ignored; 0 measured; {} filtered out; finished in {:.2}s\n",
        if failed.is_empty() { "ok" } else { "FAILED" },
        chosen.len() - failed.len(),
        failed.len(),
        tests.len() - chosen.len(),
        began.elapsed().as_secs_f64()
    );
    std::process::exit(if failed.is_empty() { 0 } else { 101 });
}

/// One test in a process, and a group of processes, of its own.
fn alone(test: fn()) -> bool {
    let _ = std::io::stdout().flush();
    // SAFETY: this process has one thread.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
    if pid == 0 {
        super::process::end_with_parent();
        // SAFETY: plain calls on this process; the handler is a function of this program.
        unsafe {
            libc::setpgid(0, 0);
            libc::signal(
                libc::SIGALRM,
                time_is_up as extern "C" fn(i32) as libc::sighandler_t,
            );
            libc::alarm(number_from_env("ALLCORES_TEST_LIMIT").unwrap_or(u64::from(LIMIT)) as u32);
        }
        let done = std::panic::catch_unwind(AssertUnwindSafe(test));
        // SAFETY: ends the process.
        unsafe { libc::_exit(if done.is_ok() { 0 } else { 101 }) };
    }
    let mut status = 0;
    // SAFETY: our own child. It is looked at first and its group ended before its number is given back: the group can be
    // nobody else's.
    unsafe {
        let mut info = std::mem::zeroed();
        while libc::waitid(
            libc::P_PID,
            pid as u32,
            &mut info,
            libc::WEXITED | libc::WNOWAIT,
        ) != 0
        {}
        libc::kill(-pid, libc::SIGKILL);
        while libc::waitpid(pid, &mut status, 0) != pid {}
    }
    libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
}

extern "C" fn time_is_up(_: i32) {
    // Whatever this breaks, the process is at its end.
    eprintln!("the test has taken longer than its limit; its processes:");
    describe_processes();
    // SAFETY: ends the process.
    unsafe { libc::_exit(102) };
}

/// What every process below this one is doing, thread by thread.
fn describe_processes() {
    let mut left: Vec<String> = super::children()
        .split(' ')
        .map(str::to_owned)
        .filter(|pid| !pid.is_empty())
        .collect();
    while let Some(pid) = left.pop() {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task"));
        for task in tasks.into_iter().flatten().flatten() {
            let read = |name: &str| {
                std::fs::read_to_string(task.path().join(name))
                    .unwrap_or_default()
                    .trim()
                    .to_owned()
            };
            let stat = read("stat");
            let state = stat.rsplit(')').next().unwrap_or("").trim().chars().next();
            eprintln!(
                "  process {pid} thread {:?}: state {state:?}, syscall {}",
                task.file_name(),
                read("syscall")
            );
            left.extend(
                read("children")
                    .split(' ')
                    .map(str::to_owned)
                    .filter(|pid| !pid.is_empty()),
            );
        }
    }
}

/// How long what must come may take before it counts as never: a hang is for ever, a slow machine is not.
pub(crate) fn patience() -> Duration {
    Duration::from_secs(number_from_env("ALLCORES_TEST_PATIENCE").unwrap_or(60))
}

/// Waits until `done`; if that never comes, the test fails and tells what everybody is doing.
#[track_caller]
pub(crate) fn until(what: &str, done: impl FnMut() -> bool) {
    until_or(what, || {}, done);
}

/// [`until`], with a word of the caller's own about the state of things.
#[track_caller]
pub(crate) fn until_or(what: &str, tell: impl Fn(), mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    let mut looks = 0u32;
    while !done() {
        looks += 1;
        if looks < 50 {
            std::thread::yield_now();
            continue;
        }
        std::thread::sleep(Duration::from_micros(50));
        if looks.is_multiple_of(64) && began.elapsed() > patience() {
            tell();
            describe_processes();
            panic!("never happened: {what}");
        }
    }
}

/// A number in the environment.
pub(crate) fn number_from_env(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} must be a number, not {text:?}")),
    )
}

/// The control of a test: the same test, in processes that hear of no death, must fail, and because of a wait without end.
#[track_caller]
pub(crate) fn control(test: &str) {
    if !cfg!(debug_assertions) {
        eprintln!("only a debug build can be made deaf: nothing to see here");
        return;
    }
    let program = std::env::current_exe().expect("this program has a path");
    let run = Command::new(program)
        .args(["--exact", test])
        .env("ALLCORES_TEST_DEAF", "1")
        .env("ALLCORES_TEST_PATIENCE", "2")
        // It ends with the first hang, which may be long in coming: of storms over 20,000 rounds, one in six had none.
        .env("ALLCORES_STORM_ROUNDS", "200000")
        .output()
        .expect("this program can be run");
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(
        !run.status.success() && said.contains("never happened: "),
        "{test} sees nothing amiss in processes that hear of no death:\n{said}"
    );
}

/// Choices that a seed repeats (xorshift64*).
pub(crate) struct Random(u64);

impl Random {
    /// From `ALLCORES_STORM_SEED`, or new; the seed is printed.
    pub(crate) fn new() -> Random {
        let seed = number_from_env("ALLCORES_STORM_SEED").unwrap_or_else(|| {
            let since = std::time::SystemTime::UNIX_EPOCH.elapsed();
            since.map_or(1, |since| since.as_nanos() as u64 >> 4)
        });
        println!("seed {seed}");
        Random::from(seed)
    }

    pub(crate) fn from(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// Below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) % end
    }

    /// Does nothing for up to `micros` microseconds, without sleeping.
    pub(crate) fn dawdle(&mut self, micros: u64) {
        let nanos = self.below(micros * 1000 + 1);
        let began = Instant::now();
        while began.elapsed().as_nanos() < u128::from(nanos) {
            std::hint::spin_loop();
        }
    }
}
