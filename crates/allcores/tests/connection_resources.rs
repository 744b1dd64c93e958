//! Neither descriptors nor memory are at the mercy of a message, and no signal is raised. A file of its own, since these
//! belong to the whole process.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use allcores::multiprocessing::connection::{Address, Client, Listener, RecvError, SendError};
use allcores::multiprocessing::transfer::{self, TransferError};
use allcores::multiprocessing::{Connection, Pipe, SimplexPipe, wait};
use serde::{Serialize, Serializer};

/// Longer than anything that gets on.
const LONG: Duration = Duration::from_secs(600);

/// The tests of this file count in turns.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Remembers the largest piece of memory that the thread has asked for.
struct Watching;

thread_local! {
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.set(LARGEST.get().max(layout.size()));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(memory, layout) }
    }
    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LARGEST.set(LARGEST.get().max(size));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static WATCHING: Watching = Watching;

fn streams() -> (OwnedFd, OwnedFd) {
    let (one, other) = UnixStream::pair().unwrap();
    (one.into(), other.into())
}

/// What a Pipe is made of.
fn packets() -> (OwnedFd, OwnedFd) {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    let flags = SocketFlags::CLOEXEC;
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap()
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Serialises as a text, with a descriptor beside it that nothing in the text names.
struct Smuggled(&'static str, OwnedFd);

impl Serialize for Smuggled {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        for _ in 0..3 {
            transfer::attach(self.1.as_fd()).map_err(serde::ser::Error::custom)?;
        }
        self.0.serialize(serializer)
    }
}

#[test]
fn descriptors_that_nobody_takes_are_closed() {
    let _turn = alone();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let sender = Connection::<Smuggled, ()>::from_fd(ours.into()).unwrap();
    let receiver = Connection::<(), String>::from_fd(theirs.into()).unwrap();
    let null = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
    let before = open_descriptors();
    for _ in 0..3 {
        sender.send(&Smuggled("text", null())).unwrap();
        assert_eq!(receiver.recv().unwrap(), "text");
        sender.send(&Smuggled("text", null())).unwrap();
        assert_eq!(receiver.recv_bytes().unwrap(), b"\x04text");
        sender.send(&Smuggled("text", null())).unwrap();
        assert_eq!(receiver.recv_bytes_into(&mut [0; 9]).unwrap(), 5);
        sender.send(&Smuggled("text", null())).unwrap();
        assert!(receiver.recv_bytes_into(&mut [0; 1]).is_err());
    }
    assert_eq!(open_descriptors(), before);
    sender.send(&Smuggled("text", null())).unwrap();
    assert!(matches!(
        receiver.recv_bytes_max(1),
        Err(RecvError::TooLong { .. })
    ));
    assert_eq!(open_descriptors(), before);
}

#[test]
fn a_header_alone_takes_no_memory() {
    let _turn = alone();
    // 8 EiB - 1 and 2 GiB - 1 are announced, five bytes come.
    for header in [
        &b"\xff\xff\xff\xff\x7f\xff\xff\xff\xff\xff\xff\xff"[..],
        b"\x7f\xff\xff\xff",
    ] {
        for (ours, theirs) in [streams(), packets()] {
            let ours = Connection::<(), ()>::from_fd(ours).unwrap();
            for bytes in [header, b"hello"] {
                assert_eq!(rustix::io::write(&theirs, bytes), Ok(bytes.len()));
            }
            drop(theirs);
            LARGEST.set(0);
            assert!(matches!(
                ours.recv_bytes(),
                Err(RecvError::Truncated { .. })
            ));
            assert!(
                LARGEST.get() <= 1 << 20,
                "{} bytes were taken",
                LARGEST.get()
            );
        }
    }
}

#[test]
fn what_has_come_bounds_what_is_reserved_for_the_rest() {
    let _turn = alone();
    // 8 EiB - 1 are announced, a little more than the first step comes.
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let ours = Connection::<(), ()>::from_fd(ours.into()).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let header = b"\xff\xff\xff\xff\x7f\xff\xff\xff\xff\xff\xff\xff";
            theirs.write_all(header).unwrap();
            theirs.write_all(&vec![7; (1 << 20) + 5]).unwrap();
        });
        LARGEST.set(0);
        let before = resident();
        let received = ours.recv_bytes();
        assert!(matches!(received, Err(RecvError::Truncated { .. })));
        assert!(
            LARGEST.get() > 1 << 20,
            "it did not come to the second step"
        );
        assert!(LARGEST.get() <= 66 << 20, "{} bytes", LARGEST.get());
        // Address space, that is.
        let peak = resident().saturating_sub(before);
        assert!(peak <= 16 << 20, "{peak} bytes of memory");
    });
}

/// The most memory that this process has ever had, in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kilobytes = line.unwrap().split_whitespace().nth(1).unwrap();
    kilobytes.parse::<u64>().unwrap() * 1024
}

#[test]
fn a_broken_pipe_raises_no_signal_even_where_it_would_kill() {
    let _turn = alone();
    let (reader, writer) = SimplexPipe::<u8>().unwrap();
    let (one, other) = Pipe::<u8, u8>().unwrap();
    drop((reader, other));
    // SAFETY: the default action is no code of ours.
    let before = unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    let (piped, sent) = (writer.send(&1), one.send(&1));
    // SAFETY: what was installed before is put back.
    unsafe { libc::signal(libc::SIGPIPE, before) };
    assert!(matches!(piped, Err(SendError::Closed)));
    assert!(matches!(sent, Err(SendError::Closed)));
}

#[test]
fn handles_that_fail_to_travel_leave_nothing_open() {
    let _turn = alone();
    let before = open_descriptors();
    {
        let (a, b) = Pipe::<(Connection<u8, u8>, Connection<u8, u8>), ()>().unwrap();
        let (one, other) = Pipe::<u8, u8>().unwrap();
        let both = (one, other);
        a.send(&both).unwrap();
        a.send(&both).unwrap();
        drop(b.recv().unwrap());
        // The second message is never received.
        drop(b);
        assert!(matches!(a.send(&both), Err(SendError::Closed)));
    }
    assert_eq!(open_descriptors(), before);
}

#[test]
fn clients_that_are_not_let_in_leave_nothing_open() {
    let _turn = alone();
    let before = open_descriptors();
    {
        let listener = Listener::at(Address::unnamed()).authkey("right");
        let listener = listener.handshake_timeout(LONG).bind().unwrap();
        let client = Client::to(listener.address().clone()).authkey("wrong");
        for _ in 0..3 {
            std::thread::scope(|scope| {
                let refused = scope.spawn(|| client.connect::<(), (), ()>().is_err());
                assert!(listener.accept::<(), (), ()>().is_err());
                assert!(refused.join().unwrap());
            });
        }
        assert_eq!(open_descriptors(), before + 1);
    }
    assert_eq!(open_descriptors(), before);
}

#[test]
fn a_forked_child_does_not_remove_its_parents_socket() {
    let _turn = alone();
    let name = format!("allcores-forked-{:x}", RandomState::new().hash_one(0));
    let path = std::env::temp_dir().join(name);
    let listener = Listener::at(Address::unix(&path)).bind().unwrap();
    // SAFETY: the child drops a Listener, which is system calls and libc's allocator, and ends.
    let child = unsafe { libc::fork() };
    if child == 0 {
        drop(listener);
        // SAFETY: ends the process, and runs nothing of the parent's.
        unsafe { libc::_exit(7) };
    }
    let mut status = 0;
    // SAFETY: waits for the child from above.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(libc::WEXITSTATUS(status), 7);
    assert!(path.exists());
    drop(listener);
    assert!(!path.exists());
}

#[test]
fn what_arrives_is_closed_on_exec() {
    let _turn = alone();
    let (a, b) = Pipe::<Connection<u8, u8>, ()>().unwrap();
    a.send(&Pipe().unwrap().0).unwrap();
    let arrived = b.recv().unwrap();
    let flags = rustix::io::fcntl_getfd(&arrived).unwrap();
    assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
}

#[test]
fn without_room_for_descriptors_the_error_says_so() {
    let _turn = alone();
    let (a, b) = Pipe::<Vec<Connection<u8, u8>>, ()>().unwrap();
    let ends: Vec<_> = (0..20).map(|_| Pipe::<u8, u8>().unwrap().0).collect();
    a.send(&ends).unwrap();
    drop(ends);
    let limits = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let lowest_free = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
    let lowest = std::os::fd::AsRawFd::as_raw_fd(&lowest_free) as u64;
    drop(lowest_free);
    let scarce = rustix::process::Rlimit {
        current: Some(lowest + 5),
        ..limits
    };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, scarce).unwrap();
    let received = b.recv();
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limits).unwrap();
    match received {
        Err(error @ RecvError::Transfer(TransferError::LostOnArrival { .. })) => {
            assert!(error.to_string().contains("RLIMIT_NOFILE"), "{error}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn signals_interrupt_no_wait() {
    let _turn = alone();
    static CAUGHT: AtomicU32 = AtomicU32::new(0);
    extern "C" fn count(_: i32) {
        CAUGHT.fetch_add(1, SeqCst);
    }
    // SAFETY: the handler touches one atomic. Without SA_RESTART it interrupts every system call that sleeps.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = count as *const () as usize;
        libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut());
    }
    let (a, b) = Pipe::<u8, u8>().unwrap();
    let (reader, writer) = SimplexPipe::<u8>().unwrap();
    type Wait<'a> = Box<dyn Fn() -> u8 + Send + 'a>;
    let waits: [(Wait<'_>, Wait<'_>); 4] = [
        (
            Box::new(|| b.recv().unwrap()),
            Box::new(|| a.send(&1).map(|()| 1).unwrap()),
        ),
        (
            Box::new(|| reader.recv().unwrap()),
            Box::new(|| writer.send(&1).map(|()| 1).unwrap()),
        ),
        (
            Box::new(|| u8::from(b.poll_timeout(None).unwrap()) * b.recv().unwrap()),
            Box::new(|| a.send(&1).map(|()| 1).unwrap()),
        ),
        (
            Box::new(|| {
                let ready = wait(&[&b, &reader], Duration::MAX).unwrap();
                assert_eq!(ready, [0]);
                b.recv().unwrap()
            }),
            Box::new(|| a.send(&1).map(|()| 1).unwrap()),
        ),
    ];
    for (waits, goes_on) in waits {
        std::thread::scope(|scope| {
            let (say, told) = std::sync::mpsc::channel();
            let waiter = scope.spawn(move || {
                // SAFETY: asks for this thread's own handle.
                say.send((unsafe { libc::pthread_self() }, rustix::thread::gettid()))
                    .unwrap();
                waits()
            });
            let (thread, number) = told.recv().unwrap();
            for _ in 0..3 {
                let stat = format!("/proc/self/task/{number}/stat");
                while !std::fs::read_to_string(&stat).unwrap().contains(") S ") {
                    std::thread::yield_now();
                }
                let before = CAUGHT.load(SeqCst);
                // SAFETY: the thread runs until it is told to go on, which comes later.
                unsafe { libc::pthread_kill(thread, libc::SIGUSR1) };
                while CAUGHT.load(SeqCst) == before {
                    std::thread::yield_now();
                }
            }
            goes_on();
            assert_eq!(waiter.join().unwrap(), 1);
        });
    }
}
