//! Connections between programs that may be no relatives.

use allcores::multiprocessing::connection::{Address, RecvError, SendError};
use allcores::multiprocessing::transfer::{self, TransferError};
use allcores::multiprocessing::{Connection, Pipe};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::util::pair;

type Numbers = Connection<u32, u32>;

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

#[test]
fn a_network_socket_is_known_as_one_however_it_comes() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let socket = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let from_elsewhere = Connection::<Numbers, ()>::from_fd(socket.into()).unwrap();
    let (a, b) = Pipe::<Connection<Numbers, ()>, ()>().unwrap();
    a.send(&from_elsewhere).unwrap();
    let handle = Pipe::<u32, u32>().unwrap().0;
    for connection in [from_elsewhere, b.recv().unwrap()] {
        let error = connection.send(&handle).unwrap_err();
        assert!(
            matches!(error, SendError::Transfer(TransferError::Network)),
            "{error:?}"
        );
    }
}
