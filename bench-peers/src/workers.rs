//! The processes of a round.

use std::process::{Child, Command};
use std::time::Duration;

use allcores::multiprocessing::Process;

use crate::common::messages::{Board, Job, Receiver, Seat, Sender};
use crate::common::{Side, side};
use crate::{iceoryx, ipc};

/// One way to bring messages from process to process.
pub(crate) trait Contestant {
    /// Starts a worker for each seat, and brings them together.
    fn start(board: &Board) -> Vec<Worker>;
}

/// A process of the round.
pub(crate) enum Worker {
    Ours(Process<()>),
    Theirs(Child),
}

impl Worker {
    fn join(self) {
        match self {
            Worker::Ours(process) => process.result().expect("a worker came to its end"),
            Worker::Theirs(mut child) => {
                let status = child.wait().expect("our own child");
                assert!(status.success(), "a worker ended with {status}");
            }
        }
    }
}

/// A side whose rounds are this job, done by new processes each time.
pub(crate) fn contestant<C: Contestant>(name: &'static str, job: Job) -> Side<'static> {
    side(name, move |round: Duration| {
        let board = Board::new(job);
        let workers = C::start(&board);
        let time = board.conduct(round);
        workers.into_iter().for_each(Worker::join);
        time
    })
}

/// Does what belongs to a seat, with everything that a worker there may need.
pub(crate) fn serve(board: &Board, seat: Seat, end: &mut (impl Sender + Receiver)) {
    match seat {
        Seat::Producer(_) => board.produce(end),
        Seat::Consumer(index) => board.consume(index, end),
        Seat::Ping => board.ping(end),
        Seat::Pong => board.pong(end),
    }
    // Until nobody needs what this process holds.
    board.wait_for_all();
}

/// The hidden command of a peer's worker: contestant, board, seat, where to meet.
const WORKER: &str = "--worker";

/// Runs this program once more, as a worker for a seat of the board.
pub(crate) fn run_again(contestant: &str, board: &Board, seat: usize, address: &str) -> Worker {
    let program = std::env::current_exe().expect("we have a name");
    let child = Command::new(program)
        .args([WORKER, contestant, &board.path()])
        .args([&seat.to_string(), address])
        .spawn()
        .expect("this program can be run again");
    Worker::Theirs(child)
}

/// Whether this process is a worker, which it has been then.
pub(crate) fn work_if_told_to() -> bool {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some(WORKER) = args.first().map(String::as_str) else {
        return false;
    };
    // SAFETY: prctl with these arguments reads no memory.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    let [_, contestant, path, seat, address] = &args[..] else {
        panic!("five arguments, not {args:?}");
    };
    let board = Board::open(path);
    let seat = board.job.seats()[seat.parse::<usize>().expect("a number")];
    let known = ipc::work(contestant, &board, seat, address)
        || iceoryx::work(contestant, &board, seat, address);
    assert!(known, "no contestant is called {contestant}");
    true
}
