//! What a child finds when it begins: signals, streams, descriptors, arguments.

use allcores::multiprocessing::{Connection, Never, Process, SimplexPipe};

#[test]
fn a_child_starts_with_clean_signals() {
    // SAFETY: an initialised set, and this thread's own mask.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, libc::SIGUSR1);
        libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
    }
    let p = Process::new(
        |()| {
            let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
            let field = |name: &str| {
                let line = status.lines().find(|line| line.starts_with(name)).unwrap();
                u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap()
            };
            (field("SigBlk:"), field("SigIgn:"))
        },
        (),
    );
    let (blocked, ignored) = p.start().unwrap().result().unwrap();
    // From 32 on they are libc's own and real-time ones, which a shell may hand down.
    let ordinary = (1 << 31) - 1;
    assert_eq!(blocked, 0);
    assert_eq!(ignored & ordinary, 1 << (libc::SIGPIPE - 1));
}

#[test]
fn a_child_has_arguments_a_main_thread_and_no_descriptors_but_its_own() {
    let (_reader, writer) = SimplexPipe::<u8>().unwrap();
    // Open here, for all to see in vain.
    let stray = std::fs::File::open("/proc/self/exe").unwrap();
    let p = Process::new(
        |_: Connection<u8, Never>| {
            let open: Vec<_> = std::fs::read_dir("/proc/self/fd")
                .unwrap()
                .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
                .map(|target| target.to_string_lossy().into_owned())
                .collect();
            let name = std::thread::current().name().unwrap().to_owned();
            (std::env::args().collect::<Vec<_>>(), name, open)
        },
        writer,
    );
    let (arguments, thread, open) = p.start().unwrap().result().unwrap();
    drop(stray);
    assert_eq!(arguments, std::env::args().collect::<Vec<_>>());
    assert_eq!(thread, "main");
    let executable = std::env::current_exe()
        .unwrap()
        .to_string_lossy()
        .into_owned();
    assert!(!open.contains(&executable), "{open:?}");
    assert_eq!(
        open.iter()
            .filter(|target| target.contains("socket:"))
            .count(),
        1,
        "{open:?}"
    );
}

#[test]
fn closed_standard_streams_are_no_trap() {
    fn starts_without_streams(_: ()) -> bool {
        for number in 0..=2 {
            // SAFETY: the standard streams of this process, which nothing here uses.
            unsafe { libc::close(number) };
        }
        // The control socket would take the number of a standard stream, and this file in the child as well.
        let opens_a_file = |()| {
            use std::os::fd::AsRawFd;
            std::fs::File::open("/proc/self/exe").unwrap().as_raw_fd() > 2
        };
        Process::new(opens_a_file, ())
            .start()
            .unwrap()
            .result()
            .unwrap()
    }
    let p = Process::new(starts_without_streams, ()).start().unwrap();
    assert!(p.result().unwrap());
}
