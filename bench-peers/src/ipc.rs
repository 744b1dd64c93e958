//! ipc-channel: bytes, values, and pieces of shared memory.
//!
//! Its receiver has one owner. Where there are two consumers each has a channel of its own, and every producer sends to
//! both in turn: what its users do, and the fastest way, for nobody contends.

use std::marker::PhantomData;

use ipc_channel::ipc::{
    self, IpcBytesReceiver, IpcBytesSender, IpcOneShotServer, IpcReceiver, IpcSender,
    IpcSharedMemory,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::common::messages::{Board, Receiver, Seat, Sender};
use crate::ours::Tick;
use crate::workers::{Contestant, Worker, run_again, serve};

/// A kind of channel.
pub(crate) trait Kind {
    const NAME: &str;
    type Tx: Serialize + DeserializeOwned + Clone;
    type Rx;
    fn channel() -> (Self::Tx, Self::Rx);
    fn send(tx: &Self::Tx, message: &[u8]);
    fn receive<T>(rx: &Self::Rx, look: impl FnOnce(&[u8]) -> T) -> T;
}

/// Bytes, without serde.
pub(crate) enum Bytes {}

impl Kind for Bytes {
    const NAME: &str = "ipc-channel-bytes";
    type Tx = IpcBytesSender;
    type Rx = IpcBytesReceiver;

    fn channel() -> (IpcBytesSender, IpcBytesReceiver) {
        ipc::bytes_channel().unwrap()
    }

    fn send(tx: &IpcBytesSender, message: &[u8]) {
        tx.send(message).unwrap();
    }

    fn receive<T>(rx: &IpcBytesReceiver, look: impl FnOnce(&[u8]) -> T) -> T {
        look(&rx.recv().unwrap())
    }
}

/// Values, by serde.
pub(crate) enum Values {}

impl Kind for Values {
    const NAME: &str = "ipc-channel-values";
    type Tx = IpcSender<Tick>;
    type Rx = IpcReceiver<Tick>;

    fn channel() -> (IpcSender<Tick>, IpcReceiver<Tick>) {
        ipc::channel().unwrap()
    }

    fn send(tx: &IpcSender<Tick>, message: &[u8]) {
        tx.send(Tick::of(message)).unwrap();
    }

    fn receive<T>(rx: &IpcReceiver<Tick>, look: impl FnOnce(&[u8]) -> T) -> T {
        look(&rx.recv().unwrap().bytes())
    }
}

/// Each message in shared memory of its own.
pub(crate) enum Memory {}

impl Kind for Memory {
    const NAME: &str = "ipc-channel-memory";
    type Tx = IpcSender<IpcSharedMemory>;
    type Rx = IpcReceiver<IpcSharedMemory>;

    fn channel() -> (IpcSender<IpcSharedMemory>, IpcReceiver<IpcSharedMemory>) {
        ipc::channel().unwrap()
    }

    fn send(tx: &IpcSender<IpcSharedMemory>, message: &[u8]) {
        tx.send(IpcSharedMemory::from_bytes(message)).unwrap();
    }

    fn receive<T>(rx: &IpcReceiver<IpcSharedMemory>, look: impl FnOnce(&[u8]) -> T) -> T {
        look(&rx.recv().unwrap())
    }
}

/// What a worker says to the coordinator: where it receives, if it does, and where it waits for those of the others.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
struct Hello<K: Kind> {
    inbox: Option<K::Tx>,
    others: IpcSender<Vec<K::Tx>>,
}

pub(crate) struct IpcChannel<K>(PhantomData<K>);

impl<K: Kind> Contestant for IpcChannel<K> {
    fn start(board: &Board) -> Vec<Worker> {
        let seats = board.job.seats();
        let mut workers = Vec::new();
        let mut hellos = Vec::new();
        for seat in 0..seats.len() {
            let (server, name) = IpcOneShotServer::<Hello<K>>::new().unwrap();
            workers.push(run_again(K::NAME, board, seat, &name));
            hellos.push(server.accept().unwrap().1);
        }
        for (me, hello) in hellos.iter().enumerate() {
            let others = hellos.iter().enumerate().filter(|(other, _)| *other != me);
            let inboxes = others.filter_map(|(_, other)| other.inbox.clone());
            hello.others.send(inboxes.collect()).unwrap();
        }
        workers
    }
}

/// What a worker holds.
struct End<K: Kind> {
    inbox: Option<K::Rx>,
    others: Vec<K::Tx>,
    next: usize,
}

impl<K: Kind> Sender for End<K> {
    fn send(&mut self, message: &[u8]) {
        K::send(&self.others[self.next], message);
        self.next = (self.next + 1) % self.others.len();
    }
}

impl<K: Kind> Receiver for End<K> {
    fn receive<T>(&mut self, look: impl FnOnce(&[u8]) -> T) -> T {
        K::receive(self.inbox.as_ref().expect("a seat that receives"), look)
    }
}

pub(crate) fn work(contestant: &str, board: &Board, seat: Seat, server: &str) -> bool {
    match contestant {
        Bytes::NAME => meet_and_serve::<Bytes>(board, seat, server),
        Values::NAME => meet_and_serve::<Values>(board, seat, server),
        Memory::NAME => meet_and_serve::<Memory>(board, seat, server),
        _ => return false,
    }
    true
}

fn meet_and_serve<K: Kind>(board: &Board, seat: Seat, server: &str) {
    let (tx, rx) = K::channel();
    let receives = !matches!(seat, Seat::Producer(_));
    let (reply, others) = ipc::channel().unwrap();
    let hello = Hello::<K> {
        inbox: receives.then_some(tx),
        others: reply,
    };
    let coordinator = IpcSender::connect(server.to_owned()).unwrap();
    coordinator.send(hello).unwrap();
    let mut end = End::<K> {
        inbox: receives.then_some(rx),
        others: others.recv().unwrap(),
        next: 0,
    };
    serve(board, seat, &mut end);
}
