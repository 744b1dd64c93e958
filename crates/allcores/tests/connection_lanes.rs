//! Large messages over a Pipe, whose payloads have sockets of their own: where no descriptor is free, and where a process is killed or
//! forked in the midst of one. A file of its own, since this concerns the whole process.

use std::io::{IoSliceMut, PipeReader, PipeWriter, Read, Write};
use std::mem::{self, MaybeUninit};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use allcores::multiprocessing::connection::{RecvError, SendError};
use allcores::multiprocessing::{Connection, Pipe};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::{
    Pid, Resource, Signal, WaitOptions, getrlimit, kill_process, setrlimit, waitpid,
};

/// The tests of this file run in turns.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// More than goes in packets where a socket can be had for it, and more than such a socket has room for: who is killed may be in the midst.
fn large() -> Vec<u8> {
    (0..10_000_000).map(|at| (at % 251) as u8).collect()
}

/// No descriptor can be made while this runs.
fn without_descriptors<R>(run: impl FnOnce() -> R) -> R {
    let limits = getrlimit(Resource::Nofile);
    let lowest_free = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
    let lowest = lowest_free.as_raw_fd() as u64;
    drop(lowest_free);
    let scarce = rustix::process::Rlimit {
        current: Some(lowest),
        ..limits
    };
    setrlimit(Resource::Nofile, scarce).unwrap();
    let result = run();
    setrlimit(Resource::Nofile, limits).unwrap();
    result
}

#[test]
fn a_large_message_needs_no_descriptor_of_its_sender() {
    let _turn = alone();
    let (a, b) = Pipe::<(), ()>().unwrap();
    let large = large();
    std::thread::scope(|scope| {
        // Both threads belong to this process: nobody has a descriptor to give or to take.
        let received = scope.spawn(|| b.recv_bytes());
        without_descriptors(|| {
            a.send_bytes(&large).unwrap();
            assert!(received.join().unwrap().unwrap() == large);
        });
    });
}

#[test]
fn a_large_message_needs_no_descriptor_of_its_receiver() {
    let _turn = alone();
    let before = open_descriptors();
    let (a, b) = Pipe::<(), ()>().unwrap();
    let large = large();
    for _ in 0..2 {
        std::thread::scope(|scope| {
            let sender = scope.spawn(|| {
                a.send_bytes(&large).unwrap();
                a.send_bytes(b"next").unwrap();
            });
            // A descriptor has been sent once the header and one packet more lie here.
            while queued_packets_with_a_descriptor(&b) == 0 {
                std::thread::yield_now();
            }
            without_descriptors(|| assert!(b.recv_bytes().unwrap() == large));
            assert_eq!(b.recv_bytes().unwrap(), b"next");
            sender.join().unwrap();
        });
    }
    drop((a, b));
    assert_eq!(open_descriptors(), before);
}

/// How many descriptors lie in a socket's queue unread.
fn queued_packets_with_a_descriptor(socket: impl AsFd) -> u64 {
    let number = socket.as_fd().as_raw_fd();
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap();
    let line = info.lines().find(|line| line.starts_with("scm_fds:"));
    let line = line.expect("the kernel counts descriptors on their way (Linux 5.9)");
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Forks: the child runs `body` until it is killed, or the thread that forked it has ended.
fn forked(body: impl FnOnce()) -> Pid {
    // SAFETY: the child makes system calls on descriptors that it has, and allocates no memory.
    match unsafe { libc::fork() } {
        0 => {
            let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
            body();
            // SAFETY: ends the process, and runs nothing of the parent's.
            unsafe { libc::_exit(0) }
        }
        child => Pid::from_raw(child).unwrap(),
    }
}

fn kill(child: Pid) {
    kill_process(child, Signal::KILL).unwrap();
    waitpid(Some(child), WaitOptions::empty()).unwrap();
}

type End = Connection<(), ()>;

/// Lets a process do `other` on the far end of a Pipe, and kills it, 40 times, each time somewhere else. `once` is done here meanwhile, until
/// it says that it was told.
fn kill_in_the_midst(other: impl Fn(&End), mut once: impl FnMut(&End) -> bool) {
    let before = open_descriptors();
    for round in 0..40 {
        let (ours, theirs) = Pipe().unwrap();
        let child = forked(|| other(&theirs));
        drop(theirs);
        for _ in 0..round % 4 {
            assert!(once(&ours));
        }
        let killer = std::thread::spawn(move || {
            for _ in 0..round * 1000 {
                std::hint::spin_loop();
            }
            kill(child);
        });
        while once(&ours) {}
        killer.join().unwrap();
    }
    assert_eq!(open_descriptors(), before);
}

#[test]
fn a_sender_of_large_messages_that_is_killed_is_noticed_wherever_it_was() {
    let _turn = alone();
    let large = large();
    kill_in_the_midst(
        |far| while far.send_bytes(&large).is_ok() {},
        |near| match near.recv_bytes() {
            Ok(message) => {
                assert!(message == large);
                true
            }
            Err(RecvError::Closed | RecvError::Truncated { .. }) => false,
            Err(error) => panic!("{error:?}"),
        },
    );
}

#[test]
fn a_receiver_of_large_messages_that_is_killed_is_noticed_wherever_it_was() {
    let _turn = alone();
    let large = large();
    let buffer = std::cell::RefCell::new(vec![0; large.len()]);
    kill_in_the_midst(
        |far| while far.recv_bytes_into(&mut buffer.borrow_mut()).is_ok() {},
        |near| match near.send_bytes(&large) {
            Ok(()) => true,
            Err(SendError::Closed) => false,
            Err(error) => panic!("{error:?}"),
        },
    );
}

/// A forked process, and two pipes by which it is told to go on, and tells.
struct Told {
    process: Pid,
    go_on: PipeWriter,
    told: PipeReader,
}

impl Told {
    /// Forks one that waits to be told before it does `body`, and then tells, and waits to be killed.
    fn forked(body: impl FnOnce()) -> Told {
        let (mut waits, go_on) = std::io::pipe().unwrap();
        let (told, mut tells) = std::io::pipe().unwrap();
        let process = forked(|| {
            waits.read_exact(&mut [0]).unwrap();
            body();
            tells.write_all(&[1]).unwrap();
            loop {
                std::thread::park();
            }
        });
        Told {
            process,
            go_on,
            told,
        }
    }

    fn go_on(&mut self) {
        self.go_on.write_all(&[1]).unwrap();
        self.told.read_exact(&mut [0]).unwrap();
    }
}

/// The next packet's bytes, and the descriptor that came with it.
fn packet<'a>(from: &End, bytes: &'a mut [u8; 4]) -> (&'a [u8], Option<OwnedFd>) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let parts = &mut [IoSliceMut::new(bytes)];
    let received = recvmsg(from, parts, &mut control, RecvFlags::empty()).unwrap();
    let descriptor = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    (&bytes[..received.bytes], descriptor)
}

#[test]
fn a_killed_receiver_is_noticed_though_a_process_forked_meanwhile_has_its_end_of_the_payloads_socket()
 {
    let _turn = alone();
    let before = open_descriptors();
    let large = large();
    for takes_its_end in [false, true] {
        let (a, b) = Pipe::<(), ()>().unwrap();
        let is_full = || match a.send_bytes_timeout(b"", Duration::ZERO) {
            Ok(()) => false,
            Err(SendError::TimedOut) => true,
            Err(error) => panic!("{error:?}"),
        };
        // The Pipe has room for a header and nothing more. So the packet that the end goes with has to wait.
        while !is_full() {}
        b.recv_bytes().unwrap();
        assert!(!is_full() && is_full());
        b.recv_bytes().unwrap();

        let mut receiver = Told::forked(|| {
            let mut bytes = [0; 4];
            while packet(&b, &mut bytes).0 == [0; 4] {}
            assert_eq!(u32::from_be_bytes(bytes) as usize, large.len());
            if takes_its_end {
                let (mark, end) = packet(&b, &mut bytes);
                assert_eq!(mark, b"L");
                // It stays open until the process ends.
                mem::forget(end.unwrap());
            }
        });
        drop(b);
        let open = open_descriptors();
        std::thread::scope(|scope| {
            let sender = scope.spawn(|| {
                let sent = a.send_bytes(&large);
                assert!(matches!(sent, Err(SendError::Closed)), "{sent:?}");
                assert!(matches!(a.send_bytes(b"x"), Err(SendError::OutOfStep)));
            });
            // The sender has both ends.
            while open_descriptors() < open + 2 {
                std::thread::yield_now();
            }
            let copies = forked(|| {
                loop {
                    std::thread::park();
                }
            });
            receiver.go_on();
            kill(receiver.process);
            sender.join().unwrap();
            kill(copies);
        });
    }
    assert_eq!(open_descriptors(), before);
}

#[test]
fn a_receiver_that_has_ended_with_all_of_the_message_is_no_death() {
    let _turn = alone();
    let large = large();
    let (a, b) = Pipe::<(), ()>().unwrap();
    let sender = forked(|| {
        // SAFETY: this process uses it no more, and ends without dropping it. Or it would be its own receiver.
        unsafe { libc::close(b.as_fd().as_raw_fd()) };
        let sent = a.send_bytes(&large).is_ok();
        // SAFETY: ends the process, and runs nothing of the parent's.
        unsafe { libc::_exit(if sent { 7 } else { 8 }) }
    });
    let mut bytes = [0; 4];
    assert_eq!(packet(&b, &mut bytes).0.len(), 4);
    let (mark, end) = packet(&b, &mut bytes);
    assert_eq!(mark, b"L");
    let mut end = UnixStream::from(end.unwrap());
    let mut payload = vec![0; large.len()];
    end.read_exact(&mut payload).unwrap();
    assert!(payload == large);
    // It waits for the answer, and is to find that and the end of the Pipe at once.
    let stat = format!("/proc/{sender}/stat");
    while !std::fs::read_to_string(&stat).unwrap().contains(") S ") {
        std::thread::yield_now();
    }
    kill_process(sender, Signal::STOP).unwrap();
    let (_, stopped) = waitpid(Some(sender), WaitOptions::UNTRACED)
        .unwrap()
        .unwrap();
    assert!(stopped.stopped());
    end.write_all(b"L").unwrap();
    drop(b);
    kill_process(sender, Signal::CONT).unwrap();
    let (_, ended) = waitpid(Some(sender), WaitOptions::empty())
        .unwrap()
        .unwrap();
    assert_eq!(ended.exit_status(), Some(7));
}
