//! A stream of frames, in pieces of any size.
//!
//! Bytes: how long a message may be (2, 0 for any), the sizes of the pieces (2), the stream.

use allcores::multiprocessing::connection::frame::{Frame, FrameError, Header, Want};

use super::Bytes;

/// The payloads of a stream that comes in such pieces, and how it ends.
fn parse(
    stream: &[u8],
    pieces: [usize; 2],
    most: Option<u64>,
) -> (Vec<Vec<u8>>, Result<bool, FrameError>) {
    let mut payloads = Vec::new();
    let mut rest = stream;
    for turn in 0.. {
        let mut frame = Frame::new(most);
        let mut payload = Vec::new();
        let mut turn: usize = turn;
        loop {
            turn += 1;
            let piece = rest.len().min(pieces[turn % 2].max(1));
            let wants = frame.wants();
            if wants == Want::Nothing {
                break;
            }
            if rest.is_empty() {
                return (payloads, frame.end_of_stream());
            }
            match wants {
                Want::Header(most) => {
                    let (now, later) = rest.split_at(piece.min(most));
                    if let Err(error) = frame.header(now) {
                        return (payloads, Err(error));
                    }
                    rest = later;
                }
                Want::Payload(most) => {
                    assert!(most > 0);
                    let (now, later) = rest.split_at(piece.min(most as usize));
                    frame.payload(now.len() as u64);
                    payload.extend_from_slice(now);
                    rest = later;
                }
                Want::Nothing => unreachable!(),
            }
        }
        assert_eq!(frame.length(), Some(payload.len() as u64));
        assert!(most.is_none_or(|most| payload.len() as u64 <= most));
        payloads.push(payload);
    }
    unreachable!()
}

/// However the stream is cut into pieces, the same comes out; and what came out, written again, is read again.
pub fn run(data: &[u8]) {
    let mut bytes = Bytes(data);
    let most = match bytes.u16() {
        0 => None,
        most => Some(u64::from(most) - 1),
    };
    let pieces = [usize::from(bytes.u8()), usize::from(bytes.u8())];
    let stream = bytes.0;
    let (payloads, end) = parse(stream, pieces, most);
    assert_eq!(
        (payloads.clone(), end),
        parse(stream, [usize::MAX; 2], most)
    );
    assert_eq!((payloads.clone(), end), parse(stream, [1; 2], most));
    let mut again = Vec::new();
    for payload in &payloads {
        again.extend_from_slice(Header::new(payload.len() as u64).as_bytes());
        again.extend_from_slice(payload);
    }
    assert_eq!(parse(&again, pieces, most), (payloads, Ok(false)));
}
