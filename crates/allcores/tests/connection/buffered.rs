//! Connections that read ahead.

use std::io::Write;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use allcores::multiprocessing::connection::{
    Address, BufferedConnection, RecvError, RecvIntoError,
};
use allcores::multiprocessing::{Connection, Never, Pipe, SimplexPipe, StreamPipe, wait};

use crate::util::{LONG, SHORT, pair, raw};

/// Sizes round all borders: of the buffer, and of what is read past it; empty ones in between.
fn sizes() -> impl Iterator<Item = usize> {
    let mut state = 12345u32;
    let borders = [
        0, 1, 4, 64, 4091, 4092, 4095, 4096, 4097, 8000, 16376, 16380, 16384, 16385, 20481, 70000,
    ];
    (0..400).map(move |turn| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        match turn % 3 {
            0 => borders[turn / 3 % borders.len()],
            1 => (state >> 20) as usize,
            _ => (state >> 26) as usize,
        }
    })
}

fn message(turn: usize, size: usize) -> Vec<u8> {
    (0..size).map(|at| (turn * 31 + at) as u8).collect()
}

#[test]
fn messages_of_all_sizes_come_as_they_were_over_every_channel() {
    fn check(send: impl Fn(&[u8]) + Send, receiver: BufferedConnection<impl Sized, ()>) {
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for (turn, size) in sizes().enumerate() {
                    send(&message(turn, size));
                }
            });
            let mut buffer = vec![0; 70_000];
            for (turn, size) in sizes().enumerate() {
                let came = match turn % 2 {
                    0 => receiver.recv_bytes().unwrap(),
                    _ => {
                        let length = receiver.recv_bytes_into(&mut buffer).unwrap();
                        buffer[..length].to_vec()
                    }
                };
                assert!(
                    came == message(turn, size),
                    "message {turn} of {size} bytes"
                );
            }
            assert!(matches!(receiver.recv_bytes(), Err(RecvError::Closed)));
        });
    }
    for (a, b) in [Pipe::<(), ()>().unwrap(), StreamPipe().unwrap()] {
        check(move |bytes| a.send_bytes(bytes).unwrap(), b.buffered());
    }
    let (reader, writer) = SimplexPipe::<()>().unwrap();
    check(
        move |bytes| writer.send_bytes(bytes).unwrap(),
        reader.buffered(),
    );
    let (a, b) = pair::<(), ()>(Address::tcp("127.0.0.1:0"), None);
    check(move |bytes| a.send_bytes(bytes).unwrap(), b.buffered());
}

type Passed = (u8, Option<Connection<u8, Never>>);

/// What is sent through it says which message it came with.
fn with_handle(number: u8, near: &mut Vec<Connection<Never, u8>>) -> Passed {
    let (far, here) = Pipe().unwrap();
    near.push(here);
    (number, Some(far))
}

#[test]
fn descriptors_come_with_the_message_that_they_were_sent_with() {
    let (a, b) = StreamPipe::<Passed, Never>().unwrap();
    let b = b.buffered();
    let mut near = Vec::new();
    // All of it lies there before anything is read.
    let handles = [2, 3, 5, 8, 9];
    for number in 0..=10 {
        let message = match handles.contains(&number) {
            true => with_handle(number, &mut near),
            false => (number, None),
        };
        a.send(&message).unwrap();
    }
    for number in 0..=10 {
        let (came, handle) = b.recv().unwrap();
        assert_eq!(
            (came, handle.is_some()),
            (number, handles.contains(&number))
        );
        if let Some(handle) = handle {
            handle.send(&number).unwrap();
        }
    }
    let told: Vec<u8> = near.iter().map(|near| near.recv().unwrap()).collect();
    assert_eq!(told, handles);
    assert!(
        matches!(near[0].recv(), Err(RecvError::Closed)),
        "no copy is left anywhere"
    );
    assert!(b.into_inner().is_ok());
}

#[test]
fn descriptors_come_with_a_message_that_is_split_by_the_end_of_the_buffer() {
    type Long = (Vec<u8>, Option<Connection<u8, Never>>);
    // The message with the handle begins so many bytes before the end of the buffer, and in the middle of its header too.
    for (before, after) in (16_360..16_390).flat_map(|n| [(n, 10), (n, 5_000), (n, 40_000)]) {
        let (a, b) = StreamPipe::<Long, Never>().unwrap();
        let b = b.buffered();
        a.send(&(vec![1; before - 8], None)).unwrap();
        let (far, near) = Pipe().unwrap();
        a.send(&(vec![2; after], Some(far))).unwrap();
        a.send(&(vec![3; 10], None)).unwrap();
        assert!(b.recv().unwrap().1.is_none());
        let (bytes, handle) = b.recv().unwrap();
        assert_eq!(bytes.len(), after);
        handle.expect("it came with this one").send(&7).unwrap();
        assert_eq!(near.recv().unwrap(), 7);
        let (bytes, none) = b.recv().unwrap();
        assert!(
            (bytes.len(), none.is_none()) == (10, true),
            "{before} before {after}"
        );
    }
}

#[test]
fn descriptors_of_a_message_that_is_taken_as_bytes_are_closed() {
    let (a, b) = StreamPipe::<Passed, Never>().unwrap();
    let b = b.buffered();
    let mut near = Vec::new();
    a.send(&(0, None)).unwrap();
    a.send(&with_handle(1, &mut near)).unwrap();
    a.send(&with_handle(2, &mut near)).unwrap();
    assert_eq!(b.recv().unwrap().0, 0);
    b.recv_bytes().unwrap();
    assert!(matches!(near[0].recv(), Err(RecvError::Closed)));
    assert_eq!(
        b.recv().unwrap().1.map(|handle| handle.send(&2).unwrap()),
        Some(())
    );
    assert_eq!(near[1].recv().unwrap(), 2);
}

#[test]
fn descriptors_that_come_late_in_a_message_belong_to_nobody() {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    let (b, theirs) = UnixStream::pair().unwrap();
    let b = Connection::<(), Passed>::from_fd(b.into())
        .unwrap()
        .buffered();
    let (end, near) = UnixStream::pair().unwrap();
    // A message for number 9 with handle 1, and a descriptor with each byte, of which the first is handle 0.
    for byte in &[0, 0, 0, 3, 9, 1, 1] {
        let with = [std::os::fd::AsFd::as_fd(&end)];
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(&with)));
        let part = [std::io::IoSlice::new(std::slice::from_ref(byte))];
        assert_eq!(
            sendmsg(&theirs, &part, &mut control, SendFlags::empty()),
            Ok(1)
        );
    }
    let error = b.recv().unwrap_err();
    assert!(error.to_string().contains("1 came with it"), "{error}");
    drop(end);
    let near = Connection::<(), u8>::from_fd(near.into()).unwrap();
    assert!(
        matches!(near.recv(), Err(RecvError::Closed)),
        "they are closed"
    );
}

#[test]
fn bare_descriptors_come_between_messages() {
    let (a, b) = StreamPipe::<u8, u8>().unwrap();
    let b = b.buffered();
    let (far, near) = UnixStream::pair().unwrap();
    a.send(&1).unwrap();
    a.send_handle(&far).unwrap();
    a.send_handle(&far).unwrap();
    a.send(&2).unwrap();
    drop(far);
    assert_eq!(b.recv().unwrap(), 1);
    let handles = [b.recv_handle().unwrap(), b.recv_handle().unwrap()];
    assert_eq!(b.recv().unwrap(), 2);
    for handle in handles {
        Connection::<u8, u8>::from_fd(handle)
            .unwrap()
            .send(&3)
            .unwrap();
    }
    let near = Connection::<u8, u8>::from_fd(OwnedFd::from(near)).unwrap();
    assert_eq!((near.recv().unwrap(), near.recv().unwrap()), (3, 3));
    assert!(matches!(near.recv(), Err(RecvError::Closed)));
    // And where none was sent.
    a.send(&4).unwrap();
    assert!(matches!(b.recv_handle(), Err(RecvError::Transfer(_))));
    assert!(matches!(b.recv(), Err(RecvError::OutOfStep)));
    drop(a);
}

#[test]
fn what_has_been_read_ahead_is_polled_and_waited_for() {
    let (a, b) = StreamPipe::<u8, u8>().unwrap();
    let (c, d) = StreamPipe::<u8, u8>().unwrap();
    let (b, d) = (b.buffered(), d.buffered());
    assert!(!b.poll().unwrap() && !b.poll_timeout(SHORT).unwrap());
    assert!(wait(&[&b, &d], SHORT).unwrap().is_empty());
    a.send(&1).unwrap();
    a.send(&2).unwrap();
    assert!(b.poll().unwrap());
    assert_eq!(wait(&[&d, &b], None).unwrap(), [1]);
    assert_eq!(b.recv().unwrap(), 1);
    // The second has been read, and nothing is left in the socket.
    assert_eq!(b.unread(), 5);
    assert!(b.poll().unwrap() && b.poll_timeout(None).unwrap());
    assert_eq!(wait(&[&d, &b], None).unwrap(), [1]);
    c.send(&1).unwrap();
    assert_eq!(wait(&[&d, &b, &a], None).unwrap(), [0, 1]);
    assert_eq!((b.recv().unwrap(), b.unread()), (2, 0));
    assert!(!b.poll().unwrap());
    assert_eq!(b.recv_timeout(SHORT).unwrap(), None);
    drop(a);
    assert!(b.poll_timeout(None).unwrap(), "the end can be received");
    assert!(matches!(b.recv(), Err(RecvError::Closed)));
}

#[test]
fn it_becomes_a_connection_again_when_nothing_is_left() {
    let (a, b) = StreamPipe::<u8, u8>().unwrap();
    let b = b.buffered();
    for value in 1..=3 {
        a.send(&value).unwrap();
    }
    assert_eq!(b.recv().unwrap(), 1);
    let error = b.into_inner().unwrap_err();
    assert!(error.to_string().contains("10 bytes"), "{error}");
    let b = error.connection;
    assert_eq!((b.recv().unwrap(), b.recv().unwrap()), (2, 3));
    let b = b.into_inner().unwrap();
    a.send(&4).unwrap();
    assert_eq!(b.recv().unwrap(), 4);
}

#[test]
fn a_message_that_does_not_fit_is_in_the_error() {
    let (a, b) = StreamPipe::<(), ()>().unwrap();
    let b = b.buffered();
    for size in [10, 30_000] {
        a.send_bytes(&message(0, size)).unwrap();
        a.send_bytes(b"next").unwrap();
        match b.recv_bytes_into(&mut [0; 9]) {
            Err(RecvIntoError::BufferTooShort(short)) => assert!(short.message == message(0, size)),
            other => panic!("{other:?}"),
        }
        assert_eq!(b.recv_bytes_max(4).unwrap(), b"next");
    }
    a.send_bytes(&[0; 5]).unwrap();
    assert!(matches!(
        b.recv_bytes_max(4),
        Err(RecvError::TooLong { length: 5, most: 4 })
    ));
    assert!(matches!(b.recv_bytes(), Err(RecvError::OutOfStep)));
    b.send_bytes(b"on").unwrap();
    assert_eq!(a.recv_bytes().unwrap(), b"on");
}

#[test]
fn broken_frames_are_errors() {
    let buffered = || {
        let (ours, theirs) = raw();
        (ours.buffered(), theirs)
    };
    let good = b"\0\0\0\x01a";
    for cut in 1..good.len() {
        let (b, mut theirs) = buffered();
        theirs.write_all(good).unwrap();
        theirs.write_all(&good[..cut]).unwrap();
        theirs.shutdown(Shutdown::Write).unwrap();
        assert_eq!(b.recv_bytes().unwrap(), b"a");
        assert!(matches!(b.recv_bytes(), Err(RecvError::Truncated { .. })));
        assert!(matches!(b.recv_bytes(), Err(RecvError::OutOfStep)));
    }
    let (b, mut theirs) = buffered();
    theirs.write_all(b"\0\0\0\x01a\xff\xff\xff\xfe").unwrap();
    assert_eq!(b.recv_bytes().unwrap(), b"a");
    assert!(matches!(
        b.recv_bytes(),
        Err(RecvError::BadHeader { length: -2 })
    ));
    let (b, mut theirs) = buffered();
    theirs.write_all(b"\0\0\0\x01a\0\0").unwrap();
    assert_eq!(b.recv_bytes_timeout(1, LONG).unwrap(), Some(b"a".to_vec()));
    assert!(matches!(
        b.recv_bytes_timeout(1, SHORT),
        Err(RecvError::TooSlow { missing: 2 })
    ));
}

#[test]
fn threads_that_share_it_get_each_message_once() {
    let (a, b) = StreamPipe::<u32, u32>().unwrap();
    let b = b.buffered();
    let mut all: Vec<u32> = std::thread::scope(|scope| {
        let receivers: Vec<_> = (0..3)
            .map(|way| {
                let b = &b;
                scope.spawn(move || {
                    let mut mine = Vec::new();
                    loop {
                        // Who polls must not sleep on while another has read its message.
                        if way == 0 {
                            assert!(b.poll_timeout(None).unwrap());
                        }
                        match b.recv() {
                            Ok(value) => mine.push(value),
                            Err(RecvError::Closed) => return mine,
                            Err(error) => panic!("{error}"),
                        }
                    }
                })
            })
            .collect();
        for value in 0..3_000 {
            a.send(&value).unwrap();
        }
        drop(a);
        receivers
            .into_iter()
            .flat_map(|r| r.join().unwrap())
            .collect()
    });
    all.sort_unstable();
    assert!(all.into_iter().eq(0..3_000));
}

#[test]
fn a_forked_process_does_not_receive_what_its_parent_has_read() {
    // What a forked process can say without memory: how it exits.
    let forked = |b: &BufferedConnection<u8, u8>| {
        // SAFETY: the child uses what libc keeps in order over a fork, and leaves.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let code = match b.recv() {
                Ok(value) => i32::from(value),
                Err(RecvError::OutOfStep) => 100,
                Err(_) => 101,
            };
            // SAFETY: ends the process.
            unsafe { libc::_exit(code) };
        }
        let mut status = 0;
        // SAFETY: our own child, and room for its status.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        libc::WEXITSTATUS(status)
    };
    let (a, b) = StreamPipe::<u8, u8>().unwrap();
    let b = b.buffered();
    a.send(&1).unwrap();
    assert_eq!(forked(&b), 1, "nothing had been read ahead");
    a.send(&2).unwrap();
    a.send(&3).unwrap();
    assert_eq!(b.recv().unwrap(), 2);
    assert_eq!(forked(&b), 100);
    assert_eq!(b.recv().unwrap(), 3, "the parent has it still");
}
