//! What the tests of the fork server share.

use allcores::multiprocessing::process::StartError;
use allcores::multiprocessing::{Connection, Pipe, Process, StartMethod, active_children};

/// Runs a test in a process without a server.
pub(crate) fn alone<F: Fn(()) + Copy + Send + 'static>(test: F) {
    let p = Process::new(
        move |()| {
            // SAFETY: this process has one thread that looks at the environment.
            unsafe { std::env::remove_var("ALLCORES_START_METHOD") };
            test(());
        },
        (),
    );
    let p = p.start_method(StartMethod::Spawn);
    p.start().unwrap().join().unwrap();
}

pub(crate) fn children_of(pid: u32) -> Vec<u32> {
    let mut children = Vec::new();
    let threads = std::fs::read_dir(format!("/proc/{pid}/task"));
    for thread in threads.into_iter().flatten().flatten() {
        let list = std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        children.extend(
            list.split_whitespace()
                .map(|pid| pid.parse::<u32>().unwrap()),
        );
    }
    children
}

/// The servers of this process, those that have ended and are not collected among them.
pub(crate) fn servers() -> Vec<u32> {
    let mut children = children_of(std::process::id());
    children.retain(|pid| {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        name.trim() == "allcores-zygote"
    });
    children
}

/// The one that serves this process. Others may be ending.
pub(crate) fn server() -> u32 {
    loop {
        // Collects those that have ended.
        active_children();
        match servers()[..] {
            [server] => return server,
            [] => panic!("there is none"),
            _ => std::thread::yield_now(),
        }
    }
}

pub(crate) fn kill(pid: u32) {
    // SAFETY: a child of this process that it has not collected: the number is its own.
    assert_eq!(unsafe { libc::kill(pid as i32, libc::SIGKILL) }, 0);
}

/// By the server, or it is an error.
pub(crate) fn forked<F, A, R>(function: F, arguments: A) -> Result<Process<R>, StartError>
where
    F: Fn(A) -> R + Copy + Send + 'static,
    A: serde::Serialize + serde::de::DeserializeOwned,
    R: serde::Serialize + serde::de::DeserializeOwned,
{
    let p = Process::new(function, arguments);
    p.start_method(StartMethod::ForkServer).start()
}

pub(crate) fn ask(end: Connection<u8, u8>) -> u8 {
    end.send(&0).unwrap();
    end.recv().unwrap()
}

pub(crate) fn standing_by() -> (Process<u8>, Connection<u8, u8>) {
    let (there, here) = Pipe().unwrap();
    let p = forked(ask, there).unwrap();
    assert_eq!(here.recv().unwrap(), 0);
    (p, here)
}

/// Who the kernel says the parent of this process is.
pub(crate) fn kernel_parent(_: ()) -> u32 {
    // SAFETY: takes nothing and cannot fail.
    (unsafe { libc::getppid() }) as u32
}

/// Whether the server itself has to tell how its children ended.
pub(crate) fn server_tells() -> bool {
    std::env::var_os("ALLCORES_NO_PIDFD_INFO").is_some()
}
