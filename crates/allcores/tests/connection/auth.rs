//! The handshake as a state machine: both ends, every digest, and peers that lie.

use std::net::SocketAddr;

use allcores::multiprocessing::connection::auth::{
    AuthError, AuthKey, Challenges, Digest, Handshake, Next, RANDOM, Role, Within,
};

const KEY: &[u8] = b"a secret";

/// HMAC-SHA256 of {sha256} and 40 bytes 07, by CPython.
const RIGHT: &str = "f5ff9cf88d8ed4c5c8227bf26107eb3c1b6c0b0f47d456e5e3349071db026609";

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |c: u8| char::from(c).to_digit(16).unwrap() as u8;
    let pairs = hex.as_bytes().chunks(2);
    pairs
        .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
        .collect()
}

fn begin(role: Role, digest: Digest, fill: u8, challenges: &Challenges) -> Handshake<'_> {
    let key = AuthKey::new(KEY);
    Handshake::new(&key, role, digest, [fill; RANDOM], challenges, None)
}

fn sends(handshake: &mut Handshake<'_>) -> Vec<u8> {
    match handshake.step() {
        Next::Send(frame) => frame,
        other => panic!("{other:?}"),
    }
}

fn fails(handshake: &mut Handshake<'_>) -> AuthError {
    match handshake.step() {
        Next::Failed(error) => error,
        other => panic!("{other:?}"),
    }
}

/// A connector that has been given this challenge.
fn asked(challenge: &[u8], challenges: &Challenges) -> Result<Vec<u8>, AuthError> {
    let mut connector = begin(Role::Connector, Digest::Sha256, 9, challenges);
    assert_eq!(connector.step(), Next::Receive);
    connector.receive(&[b"#CHALLENGE#", challenge].concat());
    match connector.step() {
        Next::Send(answer) => Ok(answer),
        Next::Failed(error) => Err(error),
        other => panic!("{other:?}"),
    }
}

#[test]
fn two_ends_with_one_key_come_together_by_every_digest() {
    for digest in Digest::ALL {
        // Two processes, so two sets.
        let (ours, theirs) = (Challenges::new(), Challenges::new());
        let mut acceptor = begin(Role::Acceptor, digest, 1, &ours);
        let mut connector = begin(Role::Connector, digest, 2, &theirs);
        let mut frames = 0;
        loop {
            match (acceptor.step(), connector.step()) {
                (Next::Done, Next::Done) => break,
                (Next::Send(frame), Next::Receive) => connector.receive(&frame),
                (Next::Receive, Next::Send(frame)) => acceptor.receive(&frame),
                (Next::Send(frame), Next::Send(other)) => {
                    connector.receive(&frame);
                    acceptor.receive(&other);
                }
                other => panic!("{other:?}"),
            }
            frames += 1;
            assert!(frames <= 6);
        }
    }
}

/// By CPython 3.13: hmac.new(b'a secret', body, name), body = b'{name}' + 40 bytes 07.
const ANSWERS: [(&str, &str); 5] = [
    ("md5", "777c96ea000f1dac3a968f0070bbdc03"),
    (
        "sha256",
        "f5ff9cf88d8ed4c5c8227bf26107eb3c1b6c0b0f47d456e5e3349071db026609",
    ),
    (
        "sha384",
        "bbaf1f8c902b314896567f46a1431143a44d81290eb66e2b1157fad881c9d191b9d37b36a23934a4db72a2a9b7e21c9d",
    ),
    (
        "sha3_256",
        "e38620490e1f298e6d6dedd62d229fc1bf6ca33e051c2757f7a1c0cc7e89095c",
    ),
    (
        "sha3_384",
        "a8f459b4e2fdd80d74895e8a774345ca7f38b98d648ec10ff5be8009b6e3baa794c4068f7eb638a5a47a2a2ca2ebd4da",
    ),
];

#[test]
fn answers_are_cpythons() {
    for (name, mac) in ANSWERS {
        let body = [format!("{{{name}}}").as_bytes(), &[7; RANDOM]].concat();
        let answer = asked(&body, &Challenges::new()).unwrap();
        let wanted = [format!("{{{name}}}").as_bytes(), &bytes(mac)].concat();
        assert_eq!(answer, wanted, "{name}");
    }
    // CPython 3.11 and before: 20 bytes, and HMAC-MD5 without a name.
    let answer = asked(&[7; 20], &Challenges::new()).unwrap();
    assert_eq!(answer, bytes("305182573e264a7f60f567d82f9ba794"));
}

#[test]
fn the_challenge_is_cpythons_and_either_kind_of_answer_will_do() {
    let known = Challenges::new();
    for answer in [
        // {sha256} and HMAC-SHA256 over {sha256} and 40 bytes 07.
        &[b"{sha256}", &bytes(RIGHT)[..]].concat(),
        // HMAC-MD5 over the same: an old peer takes all of it for the challenge.
        &bytes("ea638f2c87ba94bec9ab26738147e6f8"),
        // A peer that prefers another one.
        &[b"{sha3_384}", &bytes("aab2477c3e9d2e78a3d4892739d76b0fb7e7ad1c1bed36494f7afef4137e9e37f73b1de758aab7150bdff56d6ecaa4f5")[..]].concat(),
    ] {
        let mut acceptor = begin(Role::Acceptor, Digest::Sha256, 7, &known);
        let challenge = sends(&mut acceptor);
        assert_eq!(challenge, [b"#CHALLENGE#{sha256}", &[7; RANDOM][..]].concat());
        assert_eq!(acceptor.step(), Next::Receive);
        acceptor.receive(answer);
        assert_eq!(sends(&mut acceptor), b"#WELCOME#");
        assert_eq!(acceptor.step(), Next::Receive);
    }
}

#[test]
fn a_wrong_answer_is_told_so_and_nothing_of_the_peers_is_answered() {
    let right = [b"{sha256}", &bytes(RIGHT)[..]].concat();
    let mut flipped = right.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let renamed = [b"{sha3_256}", &right[8..]].concat();
    for (answer, wanted) in [
        (flipped, AuthError::WrongAnswer),
        (right[..39].to_vec(), AuthError::WrongAnswer),
        ([&right[..], b"x"].concat(), AuthError::WrongAnswer),
        (renamed, AuthError::WrongAnswer),
        (vec![0; 16], AuthError::WrongAnswer),
        (right[8..].to_vec(), AuthError::NoAnswer { length: 32 }),
        (
            b"{sha1}01234567890123456789".to_vec(),
            AuthError::NoAnswer { length: 26 },
        ),
        (b"".to_vec(), AuthError::NoAnswer { length: 0 }),
        (b"{".to_vec(), AuthError::NoAnswer { length: 1 }),
        (b"#WELCOME#".to_vec(), AuthError::NoAnswer { length: 9 }),
        (vec![b'{'; 256], AuthError::NoAnswer { length: 256 }),
    ] {
        let known = Challenges::new();
        let mut acceptor = begin(Role::Acceptor, Digest::Sha256, 7, &known);
        sends(&mut acceptor);
        acceptor.receive(&answer);
        assert_eq!(sends(&mut acceptor), b"#FAILURE#");
        assert_eq!(fails(&mut acceptor), wanted, "{answer:?}");
        acceptor.receive(b"#CHALLENGE#{sha256}0123456789012345678901234567890123456789");
        assert_eq!(fails(&mut acceptor), wanted);
    }
}

#[test]
fn a_challenge_that_is_none_is_not_answered() {
    let known = Challenges::new();
    for (challenge, wanted) in [
        (&[7; 19][..], AuthError::ShortChallenge { length: 19 }),
        (&[7; 16], AuthError::ShortChallenge { length: 16 }),
        (b"", AuthError::ShortChallenge { length: 0 }),
        (&[7; 21], AuthError::UnknownDigest),
        (
            b"{sha512}0123456789012345678901234567890123456789",
            AuthError::UnknownDigest,
        ),
        (
            b"{sha256 0123456789012345678901234567890123456789",
            AuthError::UnknownDigest,
        ),
        (
            b"{}0123456789012345678901234567890123456789",
            AuthError::UnknownDigest,
        ),
    ] {
        assert_eq!(
            asked(challenge, &known).unwrap_err(),
            wanted,
            "{challenge:?}"
        );
    }
    let mut connector = begin(Role::Connector, Digest::Sha256, 1, &known);
    connector.receive(b"#WELCOME#");
    assert_eq!(fails(&mut connector), AuthError::NoChallenge { length: 9 });
}

#[test]
fn only_welcome_is_welcome() {
    for (verdict, wanted) in [
        (&b"#FAILURE#"[..], AuthError::Refused),
        (b"#WELCOME", AuthError::NoVerdict { length: 8 }),
        (b"#WELCOME##", AuthError::NoVerdict { length: 10 }),
        (b"", AuthError::NoVerdict { length: 0 }),
    ] {
        for role in [Role::Connector, Role::Acceptor] {
            let known = Challenges::new();
            let mut handshake = begin(role, Digest::Sha256, 7, &known);
            if role == Role::Acceptor {
                sends(&mut handshake);
                handshake.receive(&[b"{sha256}", &bytes(RIGHT)[..]].concat());
                assert_eq!(sends(&mut handshake), b"#WELCOME#");
            }
            handshake.receive(&[b"#CHALLENGE#{sha256}", &[8; RANDOM][..]].concat());
            sends(&mut handshake);
            handshake.receive(verdict);
            assert_eq!(fails(&mut handshake), wanted, "{role:?}");
        }
    }
}

#[test]
fn what_this_process_asks_it_does_not_answer() {
    let known = Challenges::new();
    let mut acceptor = begin(Role::Acceptor, Digest::Sha256, 3, &known);
    let challenge = sends(&mut acceptor);
    let body = &challenge[b"#CHALLENGE#".len()..];
    assert_eq!(asked(body, &known).unwrap_err(), AuthError::OwnChallenge);
    // Another process would.
    assert!(asked(body, &Challenges::new()).is_ok());
    // Nor once it is over: who sends it cannot have made it.
    drop(acceptor);
    assert_eq!(
        asked(body, &known).unwrap_err(),
        AuthError::ReplayedChallenge
    );

    // The same for a challenge that has not even gone out.
    let connector = begin(Role::Connector, Digest::Sha256, 4, &known);
    let body = [b"{sha256}", &[4; RANDOM][..]].concat();
    assert_eq!(asked(&body, &known).unwrap_err(), AuthError::OwnChallenge);
    drop(connector);
}

#[test]
fn unless_both_ends_of_the_connection_are_its_own() {
    let known = Challenges::new();
    let key = AuthKey::new(KEY);
    let at = |text: &str| text.parse::<SocketAddr>().unwrap();
    let line = |port| Some(Within::Line(at("127.0.0.1:1"), at(port)));
    let cases = [
        (Some(Within::Process), Some(Within::Process), true),
        (line("127.0.0.1:2"), line("127.0.0.1:2"), true),
        (line("127.0.0.1:2"), line("127.0.0.1:3"), false),
        (Some(Within::Process), None, false),
        (None, Some(Within::Process), false),
        (None, None, false),
    ];
    for (number, (one, other, comes_together)) in cases.into_iter().enumerate() {
        let random = [number as u8; RANDOM];
        let mut acceptor =
            Handshake::new(&key, Role::Acceptor, Digest::Sha256, random, &known, one);
        let random = [number as u8 + 100; RANDOM];
        let mut connector =
            Handshake::new(&key, Role::Connector, Digest::Sha256, random, &known, other);
        connector.receive(&sends(&mut acceptor));
        match connector.step() {
            Next::Send(_) => assert!(comes_together, "case {number}"),
            Next::Failed(AuthError::OwnChallenge) => assert!(!comes_together, "case {number}"),
            other => panic!("case {number}: {other:?}"),
        }
    }
}

#[test]
fn a_replayed_challenge_is_refused() {
    let known = Challenges::new();
    let body = [b"{sha256}", &[5; RANDOM][..]].concat();
    asked(&body, &known).unwrap();
    assert_eq!(
        asked(&body, &known).unwrap_err(),
        AuthError::ReplayedChallenge
    );
    assert_eq!(
        asked(&[5; 20], &known).map(|answer| answer.len()),
        Ok(16),
        "another one is answered"
    );
    assert_eq!(
        asked(&[5; 20], &known).unwrap_err(),
        AuthError::ReplayedChallenge
    );
}

#[test]
fn a_replayed_answer_is_wrong() {
    let known = Challenges::new();
    let body = [b"{sha256}", &[6; RANDOM][..]].concat();
    let recorded = asked(&body, &known).unwrap();
    let mut acceptor = begin(Role::Acceptor, Digest::Sha256, 8, &known);
    sends(&mut acceptor);
    acceptor.receive(&recorded);
    assert_eq!(sends(&mut acceptor), b"#FAILURE#");
    assert_eq!(fails(&mut acceptor), AuthError::WrongAnswer);
}

#[test]
fn a_key_is_not_shown() {
    assert!(!format!("{:?}", AuthKey::new(b"hunter2")).contains("hunter2"));
}
