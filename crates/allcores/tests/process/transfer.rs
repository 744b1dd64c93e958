//! What travels in arguments and results.

use allcores::multiprocessing::process::ProcessError;
use allcores::multiprocessing::{Connection, Never, Pipe, Process, wait};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[test]
fn large_arguments_and_results_arrive() {
    let sent: String = (0..10_000_000u32)
        .map(|n| char::from(b'a' + (n % 23) as u8))
        .collect();
    let turn = |text: String| text.chars().rev().collect::<String>();
    let back = Process::new(turn, sent.clone())
        .start()
        .unwrap()
        .result()
        .unwrap();
    assert!(back == turn(sent));
}

#[test]
fn sizes_round_the_inline_limit_arrive() {
    for size in [32 * 1024 - 8, 32 * 1024 - 3, 32 * 1024, 32 * 1024 + 1] {
        let p = Process::new(|text: String| text, "x".repeat(size))
            .start()
            .unwrap();
        assert_eq!(p.result().unwrap().len(), size);
    }
}

#[test]
fn a_child_whose_result_nobody_reads_ends() {
    let p = Process::new(|n: usize| "x".repeat(n), 10 << 20)
        .start()
        .unwrap();
    assert_eq!(wait(&[&p], None).unwrap(), [0]);
    assert_eq!(p.exitcode(), Some(0));
}

#[test]
fn connections_travel_in_arguments_and_in_results() {
    let (there, here) = Pipe::<String, String>().unwrap();
    let p = Process::new(
        |end: Connection<String, String>| {
            let (mine, yours) = Pipe::<u8, u8>().unwrap();
            end.send(&format!("got {}", end.recv().unwrap())).unwrap();
            mine.send(&77).unwrap();
            vec![yours]
        },
        there,
    );
    let p = p.start().unwrap();
    here.send(&"this".into()).unwrap();
    assert_eq!(here.recv().unwrap(), "got this");
    let ends = p.result().unwrap();
    assert_eq!(ends[0].recv().unwrap(), 77);
    assert!(here.recv().is_err(), "no end is left open in this process");
}

#[test]
fn large_values_and_handles_travel_together() {
    let (there, here) = Pipe::<usize, Never>().unwrap();
    let p = Process::new(
        |(text, end): (String, Connection<usize, Never>)| {
            end.send(&text.len()).unwrap();
            (text, end)
        },
        ("x".repeat(100_000), there),
    );
    let p = p.start().unwrap();
    assert_eq!(here.recv().unwrap(), 100_000);
    let (text, end) = p.result().unwrap();
    end.send(&text.len()).unwrap();
    assert_eq!(here.recv().unwrap(), 100_000);
}

/// Serialises well, and never deserialises.
#[derive(Serialize)]
struct OneWay(u8);
impl<'de> Deserialize<'de> for OneWay {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<OneWay, D::Error> {
        u8::deserialize(deserializer)?;
        Err(serde::de::Error::custom("not today"))
    }
}

/// Never serialises.
#[derive(Deserialize)]
struct Stuck(#[allow(dead_code)] u8);
impl Serialize for Stuck {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("not today"))
    }
}

#[test]
fn what_does_not_decode_or_encode_is_an_error_that_says_where() {
    let p = Process::new(|_: OneWay| (), OneWay(1)).start().unwrap();
    match p.result() {
        Err(ProcessError::NotRun { reason, .. }) => {
            assert!(
                reason.contains("arguments") && reason.contains("OneWay"),
                "{reason}"
            );
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(p.exitcode(), Some(1));

    let p = Process::new(|()| Stuck(1), ()).start().unwrap();
    let Err(ProcessError::ResultNotSent { reason, .. }) = p.result() else {
        panic!("it was sent");
    };
    assert!(reason.contains("Stuck"), "{reason}");

    let p = Process::new(|()| OneWay(1), ()).start().unwrap();
    assert!(matches!(
        p.result(),
        Err(ProcessError::ResultNotReceived { .. })
    ));
    assert_eq!(p.exitcode(), Some(0));

    assert!(Process::new(|_: Stuck| (), Stuck(1)).start().is_err());
}
