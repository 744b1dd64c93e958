//! A handshake with a peer that does not have the key, or with an honest one and somebody in between.
//!
//! Bytes: what is played (1), then frames: their length (1), their bytes.

use allcores::multiprocessing::connection::auth::{
    AuthKey, Challenges, Digest, Handshake, MOST_FRAME, Next, RANDOM, Role,
};

use super::Bytes;

/// Bytes that differ with the input, so that what the fuzzer learns from one run is of no use in the next.
fn random(data: &[u8], salt: u8) -> [u8; RANDOM] {
    let mut state = 0xcbf2_9ce4_8422_2325_u64 ^ u64::from(salt);
    let mut stir = |byte: u8| {
        state = (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        (state >> 32) as u8
    };
    data.iter().for_each(|byte| {
        stir(*byte);
    });
    std::array::from_fn(|n| stir(n as u8))
}

/// Plays one of the two.
pub fn run(data: &[u8]) {
    let mut bytes = Bytes(data);
    let play = bytes.u8();
    let digest = Digest::ALL[usize::from(play >> 2) % Digest::ALL.len()];
    let role = match play & 1 {
        0 => Role::Acceptor,
        _ => Role::Connector,
    };
    if play & 2 == 0 {
        alone(data, bytes, role, digest);
    } else {
        between(data, bytes, digest);
    }
}

/// The peer sends what it likes, and does not have the key.
fn alone(data: &[u8], mut bytes: Bytes<'_>, role: Role, digest: Digest) {
    let challenges = Challenges::new();
    let key = AuthKey::new(random(data, 1));
    let mut handshake = Handshake::new(&key, role, digest, random(data, 2), &challenges, None);
    // Each frame takes it one step further: there are six at most.
    for _ in 0..20 {
        match handshake.step() {
            Next::Send(frame) => assert!(frame.len() as u64 <= MOST_FRAME),
            Next::Receive => {
                let length = bytes.u8();
                handshake.receive(bytes.take(length.into()));
            }
            Next::Done => panic!("a peer without the key was let in"),
            Next::Failed(error) => {
                assert!(!error.to_string().is_empty());
                return;
            }
        }
    }
    panic!("the handshake does not end");
}

/// Two ends with the same key, and somebody who changes their frames: for each, the place (1) and what to change (1).
fn between(data: &[u8], mut bytes: Bytes<'_>, digest: Digest) {
    let key = AuthKey::new(b"the key");
    let (here, there) = (Challenges::new(), Challenges::new());
    let mut ends = [
        Handshake::new(&key, Role::Acceptor, digest, random(data, 1), &here, None),
        Handshake::new(&key, Role::Connector, digest, random(data, 2), &there, None),
    ];
    let mut changed = false;
    let mut let_in = [false; 2];
    let mut on_the_way: [Vec<Vec<u8>>; 2] = Default::default();
    for step in 0..40 {
        let me = step % 2;
        match ends[me].step() {
            Next::Send(mut frame) => {
                let (place, change) = (bytes.u8(), bytes.u8());
                if change != 0 {
                    let place = usize::from(place) % frame.len();
                    frame[place] ^= change;
                    changed = true;
                }
                on_the_way[1 - me].push(frame);
            }
            Next::Receive => {
                if !on_the_way[me].is_empty() {
                    let frame = on_the_way[me].remove(0);
                    ends[me].receive(&frame);
                }
            }
            Next::Done => let_in[me] = true,
            Next::Failed(_) => {}
        }
    }
    assert_eq!(
        let_in == [true; 2],
        !changed,
        "changed: {changed}, let in: {let_in:?}"
    );
}
