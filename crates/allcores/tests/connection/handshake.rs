//! Handshakes with peers that lie, stop, drip or die.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use allcores::multiprocessing::connection::{
    AcceptError, Address, AuthError, Client, ConnectError, HandshakeError, Listener, RecvError,
};
use allcores::multiprocessing::{Connection, Pipe, Process, wait};

use crate::util::{Folder, LONG, SHORT};

/// What a Listener with a key and this much patience says of a client that does this.
fn judged(patience: Duration, client: impl FnOnce(&mut UnixStream) + Send) -> HandshakeError {
    let folder = Folder::new();
    let path = folder.path("socket");
    let listener = Listener::at(Address::unix(&path)).authkey("secret");
    let listener = listener.handshake_timeout(patience).bind().unwrap();
    let failure = std::thread::scope(|scope| {
        let mut far = UnixStream::connect(&path).unwrap();
        scope.spawn(move || {
            client(&mut far);
            // Until the Listener hangs up.
            let _ = far.read_to_end(&mut Vec::new());
        });
        match listener.accept::<(), (), ()>() {
            Err(AcceptError::Handshake { client, source }) => {
                assert_eq!(client, Address::unnamed());
                source
            }
            other => panic!("{other:?}"),
        }
    });
    // As good as before. Who is in a hurry may have to try again, since the machine may be slow.
    let let_in = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let next = Client::to(Address::unix(&path))
            .authkey("secret")
            .timeout(SHORT);
        let let_in = &let_in;
        scope.spawn(move || {
            while !let_in.load(SeqCst) {
                let _ = next.connect::<(), (), ()>();
            }
        });
        while listener.accept::<(), (), ()>().is_err() {}
        let_in.store(true, SeqCst);
    });
    failure
}

#[test]
fn a_bad_client_costs_one_accept() {
    let frame = |payload: &[u8]| [&(payload.len() as u32).to_be_bytes(), payload].concat();
    type Right = fn(&HandshakeError) -> bool;
    let cases: [(&str, Vec<u8>, Right); 8] = [
        ("a wrong answer", frame(&[0; 16]), |error| {
            matches!(error, HandshakeError::Auth(AuthError::WrongAnswer))
        }),
        ("another protocol", frame(b"hello"), |error| {
            matches!(
                error,
                HandshakeError::Auth(AuthError::NoAnswer { length: 5 })
            )
        }),
        (
            "a web browser",
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
            |error| matches!(error, HandshakeError::NoFrame(RecvError::TooLong { .. })),
        ),
        (
            "a negative length",
            (-2i32).to_be_bytes().to_vec(),
            |error| matches!(error, HandshakeError::NoFrame(RecvError::BadHeader { .. })),
        ),
        ("a huge length", [0xff; 12].to_vec(), |error| {
            matches!(error, HandshakeError::NoFrame(RecvError::TooLong { .. }))
        }),
        ("257 bytes", frame(&[0; 257]), |error| {
            matches!(
                error,
                HandshakeError::NoFrame(RecvError::TooLong {
                    length: 257,
                    most: 256
                })
            )
        }),
        ("half a header", vec![0, 0], |error| {
            matches!(error, HandshakeError::TooSlow)
        }),
        ("silence", vec![], |error| {
            matches!(error, HandshakeError::TooSlow)
        }),
    ];
    for (what, bytes, right) in cases {
        let is_slow = matches!(what, "half a header" | "silence");
        let error = judged(if is_slow { SHORT } else { LONG }, |far| {
            // Too late for the Listener is too slow as well.
            assert!(far.write_all(&bytes).is_ok() || is_slow);
        });
        assert!(right(&error), "{what}: {error:?}");
    }
}

#[test]
fn a_client_that_goes_or_stops_halfway_is_no_obstacle() {
    use std::net::Shutdown;
    let error = judged(LONG, |far| far.shutdown(Shutdown::Both).unwrap());
    assert!(matches!(error, HandshakeError::Closed), "{error:?}");
    // Half-closed: it hears us, and says nothing more.
    let error = judged(LONG, |far| far.shutdown(Shutdown::Write).unwrap());
    assert!(matches!(error, HandshakeError::Closed), "{error:?}");
    let error = judged(LONG, |far| {
        far.write_all(&[0, 0]).unwrap();
        far.shutdown(Shutdown::Write).unwrap();
    });
    assert!(matches!(error, HandshakeError::Closed), "{error:?}");
}

#[test]
fn a_slow_drip_does_not_stretch_the_deadline() {
    // One long answer, a byte at a time: each comes soon, and all of them would take longer than is allowed.
    let error = judged(SHORT, |far| {
        // Too late for the Listener is too slow as well.
        let _ = far.write_all(&[0, 0, 0, 200]);
        for _ in 0..200 {
            std::thread::sleep(SHORT / 20);
            if far.write_all(b"x").is_err() {
                return;
            }
        }
    });
    assert!(matches!(error, HandshakeError::TooSlow), "{error:?}");
}

/// What a client with a key says of a server that does this.
fn judging(patience: Duration, server: impl FnOnce(&mut UnixStream) + Send) -> HandshakeError {
    let folder = Folder::new();
    let path = folder.path("socket");
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut far = listener.accept().unwrap().0;
            server(&mut far);
            let _ = far.read_to_end(&mut Vec::new());
        });
        let client = Client::to(Address::unix(&path)).authkey("secret");
        match client.timeout(patience).connect::<(), (), ()>() {
            Err(ConnectError::Handshake { source, .. }) => source,
            other => panic!("{other:?}"),
        }
    })
}

#[test]
fn a_server_that_is_none_does_not_keep_a_client() {
    let error = judging(SHORT, |_| {});
    assert!(matches!(error, HandshakeError::TooSlow), "{error:?}");
    let error = judging(LONG, |far| {
        far.shutdown(std::net::Shutdown::Both).unwrap();
    });
    assert!(matches!(error, HandshakeError::Closed), "{error:?}");
    let error = judging(LONG, |far| far.write_all(b"\0\0\0\x09#WELCOME#").unwrap());
    assert!(
        matches!(
            error,
            HandshakeError::Auth(AuthError::NoChallenge { length: 9 })
        ),
        "{error:?}"
    );
    let error = judging(LONG, |far| {
        far.write_all(b"\0\0\0\x0c#CHALLENGE#x").unwrap()
    });
    assert!(
        matches!(
            error,
            HandshakeError::Auth(AuthError::ShortChallenge { length: 1 })
        ),
        "{error:?}"
    );
    // Accepted, and then nothing but silence.
    let error = judging(SHORT, |far| {
        let challenge = [&b"\0\0\0\x1f#CHALLENGE#"[..], &[9; 20]].concat();
        far.write_all(&challenge).unwrap();
    });
    assert!(matches!(error, HandshakeError::TooSlow), "{error:?}");
}

fn frame_from(far: &mut TcpStream) -> Vec<u8> {
    let mut length = [0; 4];
    far.read_exact(&mut length).unwrap();
    let mut payload = vec![0; u32::from_be_bytes(length) as usize];
    far.read_exact(&mut payload).unwrap();
    [&length[..], &payload].concat()
}

#[test]
fn our_own_challenge_comes_back_unanswered() {
    let listener = Listener::at(Address::tcp("127.0.0.1:0")).authkey("secret");
    let listener = listener.handshake_timeout(LONG).bind().unwrap();
    let real = listener.address().as_socket_addr().unwrap();
    let trap = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let trapped = Address::tcp(trap.local_addr().unwrap());
    std::thread::scope(|scope| {
        // He lets us in here, and wants to be let in there.
        scope.spawn(|| {
            let mut victim = trap.accept().unwrap().0;
            let mut door = TcpStream::connect(real).unwrap();
            let challenge = frame_from(&mut door);
            victim.write_all(&challenge).unwrap();
            let mut answer = Vec::new();
            victim.read_to_end(&mut answer).unwrap();
            assert_eq!(answer, b"", "the victim answered");
        });
        scope.spawn(|| {
            let refused = listener.accept::<(), (), ()>().unwrap_err();
            assert!(
                matches!(
                    refused,
                    AcceptError::Handshake {
                        source: HandshakeError::Closed,
                        ..
                    }
                ),
                "{refused:?}"
            );
        });
        let client = Client::to(trapped).authkey("secret").timeout(LONG);
        match client.connect::<(), (), ()>() {
            Err(ConnectError::Handshake { source, .. }) => assert!(
                matches!(source, HandshakeError::Auth(AuthError::OwnChallenge)),
                "{source:?}"
            ),
            other => panic!("{other:?}"),
        }
    });
}

/// Listens, says where, says when a client has come, and goes no further.
fn server_that_stops(test: Connection<Vec<u8>, ()>) {
    let listener = Listener::at(Address::unnamed()).authkey("secret");
    let listener = listener.bind().unwrap();
    let name = listener.address().as_abstract_name().unwrap().to_vec();
    test.send(&name).unwrap();
    wait(&[&listener], None).unwrap();
    test.send(&b"come".to_vec()).unwrap();
    let _ = test.recv();
}

/// How a client fares with such a server, which is killed or not.
fn client_of_a_server_that_stops(timeout: Duration, kill: bool) -> HandshakeError {
    let (test, child) = Pipe::<(), Vec<u8>>().unwrap();
    let server = Process::new(server_that_stops, child).start().unwrap();
    let address = Address::abstract_name(test.recv().unwrap());
    std::thread::scope(|scope| {
        let client = Client::to(address).authkey("secret").timeout(timeout);
        let client = scope.spawn(move || client.connect::<(), (), ()>());
        assert_eq!(test.recv().unwrap(), b"come");
        if kill {
            server.kill().unwrap();
        }
        let error = match client.join().unwrap() {
            Err(ConnectError::Handshake { source, .. }) => source,
            other => panic!("{other:?}"),
        };
        let _ = test.send(&());
        let _ = server.join();
        error
    })
}

#[test]
fn a_server_that_is_killed_does_not_keep_its_client() {
    let error = client_of_a_server_that_stops(LONG, true);
    assert!(matches!(error, HandshakeError::Closed), "{error:?}");
    // The control: it is the death that was heard of.
    let error = client_of_a_server_that_stops(SHORT, false);
    assert!(matches!(error, HandshakeError::TooSlow), "{error:?}");
}

/// Begins a handshake, says so, and goes no further.
fn client_that_stops((test, path): (Connection<(), ()>, std::path::PathBuf)) {
    let mut server = UnixStream::connect(path).unwrap();
    server.write_all(&[0, 0, 0, 16, 1]).unwrap();
    test.send(&()).unwrap();
    let _ = test.recv();
}

/// How a Listener fares with such a client, which is killed or not.
fn listener_with_a_client_that_stops(timeout: Duration, kill: bool) -> HandshakeError {
    let folder = Folder::new();
    let path = folder.path("socket");
    let listener = Listener::at(Address::unix(&path)).authkey("secret");
    let listener = listener.handshake_timeout(timeout).bind().unwrap();
    let (test, child) = Pipe::<(), ()>().unwrap();
    let client = Process::new(client_that_stops, (child, path))
        .start()
        .unwrap();
    std::thread::scope(|scope| {
        let accepting = scope.spawn(|| listener.accept::<(), (), ()>());
        test.recv().unwrap();
        if kill {
            client.kill().unwrap();
        }
        let error = match accepting.join().unwrap() {
            Err(AcceptError::Handshake { source, .. }) => source,
            other => panic!("{other:?}"),
        };
        let _ = test.send(&());
        let _ = client.join();
        error
    })
}

#[test]
fn a_client_that_is_killed_does_not_keep_the_listener() {
    let error = listener_with_a_client_that_stops(LONG, true);
    assert!(matches!(error, HandshakeError::Closed), "{error:?}");
    // The control.
    let error = listener_with_a_client_that_stops(SHORT, false);
    assert!(matches!(error, HandshakeError::TooSlow), "{error:?}");
}
