//! The framing as a state machine, whatever the splitting.

use allcores::multiprocessing::connection::frame::{Frame, FrameError, Header, Want};
use proptest::prelude::*;

/// Feeds a whole stream to the state machine in pieces of the given sizes, and returns the payloads.
fn parse(stream: &[u8], pieces: &[usize], most: Option<u64>) -> Result<Vec<Vec<u8>>, FrameError> {
    let mut payloads = Vec::new();
    let mut pieces = pieces.iter().copied().cycle();
    let mut rest = stream;
    let mut frame = Frame::new(most);
    let mut payload = Vec::new();
    loop {
        let piece = rest.len().min(pieces.next().unwrap_or(1).max(1));
        match frame.wants() {
            Want::Nothing => {
                payloads.push(std::mem::take(&mut payload));
                frame = Frame::new(most);
                continue;
            }
            _ if rest.is_empty() => {
                return frame.end_of_stream().map(|_| payloads);
            }
            Want::Header(most) => {
                let (now, later) = rest.split_at(piece.min(most));
                frame.header(now)?;
                rest = later;
            }
            Want::Payload(most) => {
                let (now, later) = rest.split_at(piece.min(most as usize));
                payload.extend_from_slice(now);
                frame.payload(now.len() as u64);
                rest = later;
            }
        }
    }
}

proptest! {
    #[test]
    fn frames_survive_any_splitting(
        messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..6),
        long in any::<bool>(),
        pieces in prop::collection::vec(1usize..20, 1..8),
    ) {
        let mut stream = Vec::new();
        for message in &messages {
            if long {
                stream.extend_from_slice(&[0xff; 4]);
                stream.extend_from_slice(&(message.len() as u64).to_be_bytes());
            } else {
                stream.extend_from_slice(Header::new(message.len() as u64).as_bytes());
            }
            stream.extend_from_slice(message);
        }
        prop_assert_eq!(parse(&stream, &pieces, None).unwrap(), messages);
    }

    #[test]
    fn a_cut_stream_is_truncated_or_ends_between_frames(
        messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut stream = Vec::new();
        let mut borders = vec![0];
        for message in &messages {
            stream.extend_from_slice(Header::new(message.len() as u64).as_bytes());
            stream.extend_from_slice(message);
            borders.push(stream.len());
        }
        let cut = cut.index(stream.len() + 1);
        let parsed = parse(&stream[..cut], &[3], None);
        match borders.iter().position(|border| *border == cut) {
            Some(whole) => prop_assert_eq!(parsed.unwrap(), &messages[..whole]),
            None => {
                let truncated = matches!(parsed, Err(FrameError::Truncated { .. }));
                prop_assert!(truncated);
            }
        }
    }

    #[test]
    fn no_stream_of_bytes_makes_the_machine_panic(
        stream in prop::collection::vec(any::<u8>(), 0..200),
        pieces in prop::collection::vec(1usize..20, 1..8),
        most in prop::option::of(0u64..300),
    ) {
        if let Ok(payloads) = parse(&stream, &pieces, most) {
            prop_assert!(payloads.iter().all(|payload| most.is_none_or(|most| payload.len() as u64 <= most)));
        }
    }

    #[test]
    fn a_header_says_its_length(length in prop_oneof![any::<u64>(), 0x7FFF_FFF0u64..0x8000_0010, 0u64..20]) {
        let header = Header::new(length);
        let mut frame = Frame::new(None);
        let mut rest = header.as_bytes();
        let mut refused = None;
        while let (Want::Header(most), None, false) = (frame.wants(), &refused, rest.is_empty()) {
            let (now, later) = rest.split_at(most.min(rest.len()));
            refused = frame.header(now).err();
            rest = later;
        }
        match refused {
            None => prop_assert_eq!(frame.length(), Some(length)),
            Some(error) => {
                prop_assert_eq!(error, FrameError::TooLong { length, most: isize::MAX as u64 });
                prop_assert!(length > isize::MAX as u64);
            }
        }
        prop_assert_eq!(header.as_bytes().len(), if length > 0x7FFF_FFFF { 12 } else { 4 });
    }
}
