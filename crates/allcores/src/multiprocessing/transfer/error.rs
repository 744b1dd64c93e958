//! Why a handle did not travel.

use std::io;

/// Why a handle could not go out with a message, or come in with one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// No message is being sent on this thread.
    #[error(
        "a handle is being serialised outside a message: it travels through Connection::send, or in the arguments and the result of a Process, and means nothing in a file or a string"
    )]
    NotSending,
    /// No message is being received on this thread.
    #[error(
        "a handle is being deserialised outside a message: it arrives through Connection::recv, or in the arguments and the result of a Process"
    )]
    NotReceiving,
    /// The channel is a kernel pipe.
    #[error(
        "a one-way kernel pipe carries bytes and no descriptors: send the handle through a duplex Pipe()"
    )]
    OneWayPipe,
    /// The codec of the Connection is for ends that know no handles.
    #[error(
        "a handle does not travel in a {codec} message, whose other end need not be allcores: send it through a Connection with the Compact codec, or a bare descriptor with send_handle"
    )]
    NotInCodec {
        /// The codec's name.
        codec: &'static str,
    },
    /// The channel is a network socket.
    #[error(
        "a TCP connection carries bytes and no descriptors: on one machine connect the two programs by Address::unix(path) or Address::abstract_name(name) instead"
    )]
    Network,
    /// The receiver is an unrelated program, and what the handle names lies in the arena of this program and its children.
    #[error(
        "this would open all that this program shares with its children to an unrelated program: make an allcores::shm::Arena for what both share, and create it there by new_in"
    )]
    CommonArena,
    /// The message goes into a queue.
    #[error(
        "a queue carries bytes and handles into its own arena, and no descriptors: send this handle through a Connection, or in the arguments of a Process"
    )]
    InQueue,
    /// More than fit.
    #[error("more than {most} descriptors in one message: send the handles in several messages")]
    TooMany {
        /// How many fit into this message.
        most: usize,
    },
    /// The descriptor could not be duplicated.
    #[error("a descriptor could not be duplicated for a message: {}", io::Error::from_raw_os_error(*errno))]
    Duplicate {
        /// The system's error number.
        errno: i32,
    },
    /// The message names a descriptor that did not come with it.
    #[error(
        "the message names descriptor {index}, but {count} came with it: its sender is broken or hostile"
    )]
    Missing {
        /// What the message says.
        index: u32,
        /// How many came.
        count: usize,
    },
    /// The message names a descriptor twice.
    #[error("the message names descriptor {index} twice: its sender is broken or hostile")]
    AlreadyTaken {
        /// What the message says.
        index: u32,
    },
    /// The kernel could not deliver them all.
    #[error(
        "descriptor {index} of the message was lost on arrival: this process has too many open files (see RLIMIT_NOFILE, `ulimit -n`)"
    )]
    LostOnArrival {
        /// What the message says.
        index: u32,
    },
    /// Something else came where a bare descriptor was awaited.
    #[error(
        "a bare descriptor was awaited, and the byte {byte} came with {count} of them: the peer is not in send_handle, and nothing more can be received from this connection"
    )]
    NoHandle {
        /// What came.
        byte: u8,
        /// How many descriptors came with it.
        count: usize,
    },
    /// What a handle stands for could not be packed or opened.
    #[error("a handle in the message: {reason}")]
    Handle {
        /// What was wrong with it.
        reason: String,
    },
    /// The descriptor is not what the handle needs.
    #[error("descriptor {index} of the message is not {expected}: its sender is broken or hostile")]
    Unsuitable {
        /// What the message says.
        index: u32,
        /// What it should be.
        expected: &'static str,
    },
}
