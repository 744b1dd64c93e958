//! Listeners and clients, kind ones and others.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use allcores::multiprocessing::connection::{
    AcceptError, Address, AuthError, BindError, Client, ConnectError, HandshakeError, Listener,
    RecvError, SendError,
};
use allcores::multiprocessing::transfer::{self, TransferError};
use allcores::multiprocessing::{Connection, Pipe, wait};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::util::Folder;

type Numbers = Connection<u32, u32>;

/// Longer than any handshake that gets on.
const LONG: Duration = Duration::from_secs(600);
/// A deadline that is meant to pass.
const SHORT: Duration = Duration::from_millis(50);

fn everywhere(folder: &Folder) -> [Address; 4] {
    [
        Address::unix(folder.path("socket")),
        Address::unnamed(),
        Address::tcp("127.0.0.1:0"),
        Address::tcp("localhost:0"),
    ]
}

/// A connected pair, (accepted, connected).
fn pair<A, B>(address: Address, key: Option<&str>) -> (Connection<A, B>, Connection<B, A>)
where
    Connection<A, B>: Send,
    Connection<B, A>: Send,
{
    let builder = Listener::at(address).handshake_timeout(LONG);
    let builder = match key {
        Some(key) => builder.authkey(key),
        None => builder,
    };
    let listener = builder.bind().unwrap();
    let client = Client::to(listener.address().clone()).timeout(LONG);
    let client = match key {
        Some(key) => client.authkey(key),
        None => client,
    };
    std::thread::scope(|scope| {
        let connected = scope.spawn(|| client.connect().unwrap());
        let accepted = listener.accept().unwrap();
        (accepted, connected.join().unwrap())
    })
}

#[test]
fn both_ends_talk_wherever_they_meet() {
    let folder = Folder::new();
    for key in [None, Some("secret"), Some("")] {
        for address in everywhere(&folder) {
            let (accepted, connected) = pair::<u32, u32>(address, key);
            accepted.send(&1).unwrap();
            connected.send(&2).unwrap();
            assert_eq!(
                (connected.recv().unwrap(), accepted.recv().unwrap()),
                (1, 2)
            );
            drop(connected);
            assert!(matches!(accepted.recv(), Err(RecvError::Closed)));
        }
    }
}

#[test]
fn a_listener_says_where_it_is_and_who_came() {
    let listener = Listener::at(Address::tcp("127.0.0.1:0")).bind().unwrap();
    let at = listener.address().as_socket_addr().unwrap();
    assert_ne!(at.port(), 0);
    assert_eq!(listener.last_accepted(), None);
    let client = TcpStream::connect(at).unwrap();
    let accepted: Numbers = listener.accept().unwrap();
    let last = listener.last_accepted().unwrap();
    assert_eq!(last.as_socket_addr().unwrap(), client.local_addr().unwrap());
    assert!(rustix::net::sockopt::tcp_nodelay(&accepted).unwrap());

    let listener = Listener::at(Address::unnamed()).bind().unwrap();
    assert!(!listener.address().as_abstract_name().unwrap().is_empty());
    let client: Numbers = Client::to(listener.address().clone()).connect().unwrap();
    let accepted: Numbers = listener.accept().unwrap();
    assert_eq!(listener.last_accepted(), Some(Address::unnamed()));
    client.send(&7).unwrap();
    assert_eq!(accepted.recv().unwrap(), 7);
}

#[test]
fn a_listener_is_waited_for_like_anything_else() {
    let listener = Listener::at(Address::unnamed()).bind().unwrap();
    assert!(wait(&[&listener], SHORT).unwrap().is_empty());
    assert!(
        listener
            .accept_timeout::<(), (), ()>(SHORT)
            .unwrap()
            .is_none()
    );
    let _client: Numbers = Client::to(listener.address().clone()).connect().unwrap();
    assert_eq!(wait(&[&listener], None).unwrap(), [0]);
    assert!(
        listener
            .accept_timeout::<(), (), ()>(LONG)
            .unwrap()
            .is_some()
    );
}

#[test]
fn its_file_goes_with_it_and_no_other_file_does() {
    let folder = Folder::new();
    let path = folder.path("socket");
    let bind = || Listener::at(Address::unix(&path)).bind();
    drop(bind().unwrap());
    assert!(!path.exists());

    // Removed by somebody, and made anew by somebody else.
    let listener = bind().unwrap();
    std::fs::remove_file(&path).unwrap();
    let other = UnixListener::bind(&path).unwrap();
    drop(listener);
    assert!(path.exists());
    drop(other);
    std::fs::remove_file(&path).unwrap();
    drop(bind().unwrap());
}

#[test]
fn an_address_in_use_says_by_whom_and_what_to_do() {
    let folder = Folder::new();
    let path = folder.path("socket");
    let bind = || Listener::at(Address::unix(&path)).bind();
    let listener = bind().unwrap();
    let error = bind().unwrap_err();
    assert!(matches!(error, BindError::InUse { .. }), "{error:?}");
    // The live one has not noticed.
    assert!(wait(&[&listener], SHORT).unwrap().is_empty());
    drop(listener);

    // Left behind.
    drop(UnixListener::bind(&path).unwrap());
    let error = bind().unwrap_err();
    assert!(matches!(error, BindError::Stale { .. }), "{error:?}");
    assert!(error.to_string().contains("remove the file"), "{error}");
    match Client::to(Address::unix(&path)).connect::<(), (), ()>() {
        Err(error @ ConnectError::Nobody { .. }) => {
            assert!(error.to_string().contains("start the server"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    std::fs::remove_file(&path).unwrap();
    drop(bind().unwrap());

    std::fs::write(&path, "text").unwrap();
    assert!(matches!(bind(), Err(BindError::NoSocket { .. })));
    assert_eq!(std::fs::read(&path).unwrap(), b"text");
}

#[test]
fn addresses_that_cannot_be_are_errors() {
    let long = "x".repeat(108);
    for address in [
        Address::unix(format!("/{long}")),
        Address::unix(""),
        Address::unix("/a\0b"),
        Address::abstract_name(&long),
        Address::tcp("127.0.0.1"),
    ] {
        let error = Listener::at(address.clone()).bind().unwrap_err();
        assert!(
            matches!(error, BindError::Io { .. }),
            "{address}: {error:?}"
        );
        let error = Client::to(address).connect::<(), (), ()>().unwrap_err();
        assert!(matches!(error, ConnectError::Io { .. }), "{error:?}");
    }
    let nowhere = Address::unix("/nowhere/at/all");
    let error = Client::to(nowhere).connect::<(), (), ()>().unwrap_err();
    assert!(matches!(error, ConnectError::Nobody { .. }), "{error:?}");
}

#[test]
fn without_room_to_wait_a_client_gives_up_in_time() {
    let listener = Listener::at(Address::unnamed()).backlog(0).bind().unwrap();
    let client = Client::to(listener.address().clone()).timeout(SHORT);
    let mut waiting: Vec<Numbers> = Vec::new();
    let error = loop {
        match client.connect() {
            Ok(connection) => waiting.push(connection),
            Err(error) => break error,
        }
        assert!(waiting.len() < 10);
    };
    assert!(matches!(error, ConnectError::TimedOut { .. }), "{error:?}");
}

/// What a Listener with a key says of a client that does this.
fn judged(client: impl FnOnce(&mut UnixStream) + Send) -> HandshakeError {
    let folder = Folder::new();
    let path = folder.path("socket");
    let listener = Listener::at(Address::unix(&path)).authkey("secret");
    let listener = listener.handshake_timeout(SHORT).bind().unwrap();
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
    // As good as before. It is in a hurry, and the machine may be slow.
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
        let error = judged(|far| far.write_all(&bytes).unwrap());
        assert!(right(&error), "{what}: {error:?}");
    }
}

#[test]
fn a_client_that_goes_or_stops_halfway_is_no_obstacle() {
    use std::net::Shutdown;
    let error = judged(|far| far.shutdown(Shutdown::Both).unwrap());
    assert!(matches!(error, HandshakeError::Closed), "{error:?}");
    // Half-closed: it hears us, and says nothing more.
    let error = judged(|far| far.shutdown(Shutdown::Write).unwrap());
    assert!(matches!(error, HandshakeError::Closed), "{error:?}");
    let error = judged(|far| {
        far.write_all(&[0, 0]).unwrap();
        far.shutdown(Shutdown::Write).unwrap();
    });
    assert!(matches!(error, HandshakeError::Closed), "{error:?}");
}

#[test]
fn a_slow_drip_does_not_stretch_the_deadline() {
    // One long answer, a byte at a time: each comes soon, and all of them would take longer than is allowed.
    let error = judged(|far| {
        far.write_all(&[0, 0, 0, 200]).unwrap();
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

/// A value that tells whether its message went to a stranger, and whether it came from one.
#[derive(Debug, PartialEq, Eq)]
struct Strange {
    to: bool,
    from: bool,
}

const UNKNOWN: Strange = Strange {
    to: false,
    from: false,
};

impl Serialize for Strange {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bool(transfer::to_stranger())
    }
}

impl<'de> Deserialize<'de> for Strange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Strange, D::Error> {
        Ok(Strange {
            to: bool::deserialize(deserializer)?,
            from: transfer::from_stranger(),
        })
    }
}

type Strangers = Connection<Strange, Strange>;

#[test]
fn messages_know_whether_they_go_to_strangers() {
    let (a, b) = Pipe::<Strange, Strange>().unwrap();
    a.send(&UNKNOWN).unwrap();
    assert_eq!(b.recv().unwrap(), UNKNOWN);

    const STRANGE: Strange = Strange {
        to: true,
        from: true,
    };
    for address in [Address::unnamed(), Address::tcp("127.0.0.1:0")] {
        let (one, other): (Strangers, Strangers) = pair(address, None);
        one.send(&UNKNOWN).unwrap();
        assert_eq!(other.recv().unwrap(), STRANGE);
        // A relative that is given the connection knows too.
        let (a, b) = Pipe::<Vec<Strangers>, ()>().unwrap();
        a.send(&vec![one, other]).unwrap();
        let passed_on = b.recv().unwrap();
        passed_on[0].send(&UNKNOWN).unwrap();
        assert_eq!(passed_on[1].recv().unwrap(), STRANGE);
    }

    // And whatever a stranger passes on leads to strangers, for all that anybody knows.
    let (one, other) = pair::<Strangers, ()>(Address::unnamed(), None);
    let (a, b) = Pipe::<Strange, Strange>().unwrap();
    one.send(&a).unwrap();
    other.recv().unwrap().send(&UNKNOWN).unwrap();
    assert_eq!(
        b.recv().unwrap(),
        Strange {
            to: true,
            from: false
        }
    );
}

#[test]
fn handles_go_to_strangers_on_this_machine_and_over_tcp_they_name_the_remedy() {
    let null = || std::fs::File::open("/dev/null").unwrap();
    let (one, other) = pair::<Option<Numbers>, ()>(Address::unnamed(), Some("secret"));
    let (near, far) = Pipe::<u32, u32>().unwrap();
    one.send(&Some(far)).unwrap();
    other.recv().unwrap().unwrap().send(&3).unwrap();
    assert_eq!(near.recv().unwrap(), 3);
    one.send_handle(null()).unwrap();
    assert!(other.recv_handle().is_ok());

    let (one, other) = pair::<Option<Numbers>, ()>(Address::tcp("127.0.0.1:0"), None);
    for error in [
        one.send(&Some(near)).unwrap_err(),
        one.send_handle(null()).unwrap_err(),
    ] {
        assert!(
            matches!(error, SendError::Transfer(TransferError::Network)),
            "{error:?}"
        );
        assert!(error.to_string().contains("Address::unix"), "{error}");
    }
    let error = other.recv_handle().unwrap_err();
    assert!(matches!(error, RecvError::Transfer(TransferError::Network)));
    one.send(&None).unwrap();
    assert!(other.recv().unwrap().is_none());
}
