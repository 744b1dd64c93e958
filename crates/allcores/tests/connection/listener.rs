//! Listeners and clients that find each other.

use std::net::TcpStream;
use std::os::unix::net::UnixListener;

use allcores::multiprocessing::connection::{
    Address, BindError, Client, ConnectError, Listener, RecvError,
};
use allcores::multiprocessing::{Connection, wait};

use crate::util::{Folder, LONG, SHORT, pair};

type Numbers = Connection<u32, u32>;

fn everywhere(folder: &Folder) -> [Address; 4] {
    [
        Address::unix(folder.path("socket")),
        Address::unnamed(),
        Address::tcp("127.0.0.1:0"),
        Address::tcp("localhost:0"),
    ]
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
