//! Messages that need the long header.

use allcores::multiprocessing::Pipe;

/// One more than fits into the short header's 31 bits, and a bit.
const LENGTH: usize = (1 << 31) + 4321;

#[test]
#[ignore = "takes 4 GiB of memory for a few seconds"]
fn a_message_beyond_two_gibibytes_arrives() {
    let (a, b) = Pipe::<(), u8>().unwrap();
    std::thread::scope(|scope| {
        let sender = scope.spawn(move || {
            // Never written, so it is one page of zeros all over, but for the ends.
            let mut large = vec![0; LENGTH];
            large[0] = 1;
            large[LENGTH - 1] = 2;
            a.send_bytes(&large).unwrap();
            a.send_bytes(b"next").unwrap();
        });
        let received = b.recv_bytes().unwrap();
        assert_eq!(received.len(), LENGTH);
        assert_eq!((received[0], received[LENGTH - 1]), (1, 2));
        assert!(received[1..LENGTH - 1].chunks(1 << 20).all(|part| {
            let zeros = [0; 1 << 12];
            part.chunks(zeros.len())
                .all(|part| *part == zeros[..part.len()])
        }));
        drop(received);
        assert_eq!(b.recv_bytes().unwrap(), b"next");
        sender.join().unwrap();
    });
}
