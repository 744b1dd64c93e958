//! iceoryx2: publish-subscribe, its samples read in place.
//!
//! It has no receive that waits. *Polling* looks again and again, and yields its CPU when a hundred looks were in vain;
//! *events* has a notification sent after each sample, and waits for one when there is no sample: the two ways of its
//! manual. Nothing may get lost, so a full buffer makes the publisher wait (`RetryUntilDelivered`, which yields).

use std::fmt::Debug;
use std::hint::spin_loop;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use iceoryx2::port::listener::{Listener, ListenerWaitError};
use iceoryx2::port::notifier::Notifier;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::*;

use crate::common::messages::{Board, Receiver, Seat, Sender};
use crate::queue::{LARGE_CAPACITY, SMALL, SMALL_CAPACITY};
use crate::workers::{Contestant, Worker, run_again, serve};

const POLLING: &str = "iceoryx2-polling";
const EVENTS: &str = "iceoryx2-events";

pub(crate) enum Polling {}
pub(crate) enum Events {}

impl Contestant for Polling {
    fn start(board: &Board) -> Vec<Worker> {
        start(POLLING, board)
    }
}

impl Contestant for Events {
    fn start(board: &Board) -> Vec<Worker> {
        start(EVENTS, board)
    }
}

fn start(contestant: &str, board: &Board) -> Vec<Worker> {
    static ROUNDS: AtomicU32 = AtomicU32::new(0);
    // A name that no other round has, and no other program.
    let round = ROUNDS.fetch_add(1, Relaxed);
    let address = format!("allcores-bench-{}-{round}", std::process::id());
    (0..board.job.seats().len())
        .map(|seat| run_again(contestant, board, seat, &address))
        .collect()
}

pub(crate) fn work(contestant: &str, board: &Board, seat: Seat, address: &str) -> bool {
    let events = match contestant {
        POLLING => false,
        EVENTS => true,
        _ => return false,
    };
    set_log_level(LogLevel::Error);
    let node = NodeBuilder::new().create::<ipc::Service>().unwrap();
    if board.job.size == SMALL {
        serve_with::<[u8; SMALL]>(&node, events, board, seat, address);
    } else {
        serve_with::<[u8]>(&node, events, board, seat, address);
    }
    true
}

type Out<P> = Publisher<ipc::Service, P, ()>;
type In<P> = Subscriber<ipc::Service, P, ()>;

/// What a sample holds.
trait Payload: IceoryxSend + Debug + 'static {
    fn publisher(node: &Node<ipc::Service>, topic: &ServiceName, size: usize) -> Out<Self>;
    fn subscriber(node: &Node<ipc::Service>, topic: &ServiceName) -> In<Self>;
    /// How many subscribers get it.
    fn publish(publisher: &Out<Self>, message: &[u8]) -> usize;
    /// Shows the next sample, if there is one.
    fn take<T>(subscriber: &In<Self>, look: impl FnOnce(&[u8]) -> T) -> Option<T>;
}

/// The service, opened or created by whoever comes first: one publisher, one subscriber, and nothing is thrown away.
macro_rules! service {
    ($node:expr, $topic:expr, $payload:ty, $capacity:expr) => {
        eventually(|| {
            $node
                .service_builder($topic)
                .publish_subscribe::<$payload>()
                .max_publishers(1)
                .max_subscribers(1)
                .enable_safe_overflow(false)
                .subscriber_max_buffer_size($capacity)
                .open_or_create()
        })
    };
}

/// Two processes create a service at once: one of them may be told to come back, on a busy machine.
fn eventually<T, E: Debug>(open: impl Fn() -> Result<T, E>) -> T {
    for _ in 0..100 {
        if let Ok(service) = open() {
            return service;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    open().expect("the service can be had")
}

/// Small messages have a type: no length has to be looked at.
impl Payload for [u8; SMALL] {
    fn publisher(node: &Node<ipc::Service>, topic: &ServiceName, _: usize) -> Out<Self> {
        let service = service!(node, topic, [u8; SMALL], SMALL_CAPACITY);
        let builder = service.publisher_builder();
        let builder = builder.backpressure_strategy(BackpressureStrategy::RetryUntilDelivered);
        builder.create().unwrap()
    }

    fn subscriber(node: &Node<ipc::Service>, topic: &ServiceName) -> In<Self> {
        let service = service!(node, topic, [u8; SMALL], SMALL_CAPACITY);
        service.subscriber_builder().create().unwrap()
    }

    fn publish(publisher: &Out<Self>, message: &[u8]) -> usize {
        let message: &[u8; SMALL] = message.try_into().expect("a small message");
        let sample = publisher.loan_uninit().unwrap().write_payload(*message);
        sample.send().unwrap()
    }

    fn take<T>(subscriber: &In<Self>, look: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let sample = subscriber.receive().unwrap()?;
        Some(look(sample.payload()))
    }
}

/// The others are slices, written into the loan by one copy.
impl Payload for [u8] {
    fn publisher(node: &Node<ipc::Service>, topic: &ServiceName, size: usize) -> Out<Self> {
        let service = service!(node, topic, [u8], LARGE_CAPACITY);
        let builder = service.publisher_builder().initial_max_slice_len(size);
        let builder = builder.backpressure_strategy(BackpressureStrategy::RetryUntilDelivered);
        builder.create().unwrap()
    }

    fn subscriber(node: &Node<ipc::Service>, topic: &ServiceName) -> In<Self> {
        let service = service!(node, topic, [u8], LARGE_CAPACITY);
        service.subscriber_builder().create().unwrap()
    }

    fn publish(publisher: &Out<Self>, message: &[u8]) -> usize {
        let loan = publisher.loan_slice_uninit(message.len()).unwrap();
        loan.write_from_slice(message).send().unwrap()
    }

    fn take<T>(subscriber: &In<Self>, look: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let sample = subscriber.receive().unwrap()?;
        Some(look(sample.payload()))
    }
}

struct Outbox<P: Payload + ?Sized> {
    publisher: Out<P>,
    notifier: Option<Notifier<ipc::Service>>,
}

struct Inbox<P: Payload + ?Sized> {
    subscriber: In<P>,
    listener: Option<Listener<ipc::Service>>,
}

/// What a worker holds.
struct End<P: Payload + ?Sized> {
    outbox: Option<Outbox<P>>,
    inbox: Option<Inbox<P>>,
}

impl<P: Payload + ?Sized> Sender for End<P> {
    fn send(&mut self, message: &[u8]) {
        let outbox = self.outbox.as_ref().expect("a seat that sends");
        // Nobody gets what does not fit before the subscriber's first look.
        while P::publish(&outbox.publisher, message) == 0 {
            std::thread::yield_now();
        }
        if let Some(notifier) = &outbox.notifier {
            notifier.notify().unwrap();
        }
    }
}

impl<P: Payload + ?Sized> Receiver for End<P> {
    fn receive<T>(&mut self, look: impl FnOnce(&[u8]) -> T) -> T {
        let inbox = self.inbox.as_ref().expect("a seat that receives");
        // It is called once: when there is a sample.
        let mut look = Some(look);
        let mut looks_in_vain = 0;
        loop {
            let seen = P::take(&inbox.subscriber, |message| {
                look.take().expect("one sample at a time")(message)
            });
            if let Some(seen) = seen {
                return seen;
            }
            match &inbox.listener {
                Some(listener) => match listener.blocking_wait(|_| {}) {
                    Ok(_) | Err(ListenerWaitError::InterruptSignal) => {}
                    Err(error) => panic!("no wait for events: {error}"),
                },
                None if looks_in_vain < 100 => {
                    looks_in_vain += 1;
                    spin_loop();
                }
                None => std::thread::yield_now(),
            }
        }
    }
}

/// Interrupts this process's waits once a second.
///
/// A notification of iceoryx2 0.10 may get lost. `notify` sets a word to *pending*, sends a datagram and sets *pending* to *notified*; while it
/// is *notified* no more datagrams are sent. A listener that takes the datagram, and waits again before the last step, is waited for no
/// more: it sleeps, and the word says that it was told. Any return from the wait puts that right. So a round in which it happens is slow, as it
/// would be for ever without this, and ends.
fn interrupt_waits() {
    extern "C" fn nothing(_: libc::c_int) {}
    let second = libc::timeval {
        tv_sec: 1,
        tv_usec: 0,
    };
    let every_second = libc::itimerval {
        it_interval: second,
        it_value: second,
    };
    // SAFETY: zeroes are a sigaction: no flags (so waits are not taken up again by themselves), no signal blocked. The handler
    // does nothing, which may be done anywhere; both calls read what they are given.
    let failed = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as usize;
        libc::sigaction(libc::SIGALRM, &action, null_mut())
            | libc::setitimer(libc::ITIMER_REAL, &every_second, null_mut())
    };
    assert_eq!(failed, 0, "no timer: {}", std::io::Error::last_os_error());
}

fn serve_with<P: Payload + ?Sized>(
    node: &Node<ipc::Service>,
    events: bool,
    board: &Board,
    seat: Seat,
    address: &str,
) {
    let event =
        |topic: &ServiceName| eventually(|| node.service_builder(topic).event().open_or_create());
    let topic = |way: &str| ServiceName::new(&format!("{address}-{way}")).unwrap();
    let outbox = |way: &str| Outbox {
        publisher: P::publisher(node, &topic(way), board.job.size),
        notifier: events.then(|| event(&topic(way)).notifier_builder().create().unwrap()),
    };
    let inbox = |way: &str| Inbox {
        subscriber: P::subscriber(node, &topic(way)),
        listener: events.then(|| event(&topic(way)).listener_builder().create().unwrap()),
    };
    let mut end = match seat {
        Seat::Producer(_) => End::<P> {
            outbox: Some(outbox("there")),
            inbox: None,
        },
        Seat::Consumer(_) => End {
            outbox: None,
            inbox: Some(inbox("there")),
        },
        Seat::Ping => End {
            outbox: Some(outbox("there")),
            inbox: Some(inbox("back")),
        },
        Seat::Pong => End {
            outbox: Some(outbox("back")),
            inbox: Some(inbox("there")),
        },
    };
    // Not a producer's: an interrupted wait for room is an error there.
    if events && end.inbox.is_some() {
        interrupt_waits();
    }
    serve(board, seat, &mut end);
}
