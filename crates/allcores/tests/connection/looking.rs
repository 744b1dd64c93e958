//! When somebody who waits for a message looks for it first.

use std::convert::Infallible;
use std::thread::available_parallelism;

use allcores::face::{Looked, Looking, Sighting, look};

/// How many waits pass without a look.
fn waits_without(looking: &Looking) -> usize {
    (0..)
        .take_while(|_| !looking.is_worthwhile())
        .take(10_000)
        .count()
}

/// The machine has one CPU: nobody ever looks.
fn nobody_looks() -> bool {
    // Those that this process may use are not all; then the test runs, and holds.
    let one = available_parallelism().is_ok_and(|cpus| cpus.get() == 1);
    one && !Looking::default().is_worthwhile()
}

#[test]
fn looks_in_vain_become_rare_and_come_back_where_they_pay() {
    if nobody_looks() {
        return;
    }
    let looking = Looking::default();
    assert_eq!(waits_without(&looking), 0);
    for expected in [1, 2, 4, 8, 16, 32, 64, 128, 256, 256, 256] {
        looking.was_in_vain();
        assert_eq!(waits_without(&looking), expected);
    }
    // Each that pays halves what the next one in vain doubles. On a busy machine what was found may be used too late: then again.
    let halved = (0..1000).any(|_| {
        looking.is_of_use(Sighting::now());
        looking.is_of_use(Sighting::now());
        looking.was_in_vain();
        waits_without(&looking) == 128
    });
    assert!(halved);
}

#[test]
fn what_is_found_and_cannot_be_used_was_looked_for_in_vain() {
    if nobody_looks() {
        return;
    }
    let looking = Looking::default();
    let found = Sighting::now();
    for _ in 0..2 {
        let looked = look(|| Ok::<Option<()>, Infallible>(None));
        assert!(matches!(looked, Ok(Looked::InVain)));
    }
    // More time has passed than a look takes.
    looking.is_of_use(found);
    assert_eq!(waits_without(&looking), 1);
}

#[test]
fn who_finds_it_there_time_and_again_does_not_look_for_a_while() {
    if nobody_looks() {
        return;
    }
    let looking = Looking::default();
    for _ in 0..8 {
        looking.was_there();
        assert_eq!(waits_without(&looking), 0);
    }
    for _ in 0..3 {
        looking.was_there();
        assert_eq!(waits_without(&looking), 8);
    }
    looking.is_of_use(Sighting::now());
    looking.was_there();
    assert!(waits_without(&looking) <= 1);
}

#[test]
fn a_look_tells_what_was_there_from_what_came() {
    let at_once = look(|| Ok::<_, Infallible>(Some(1)));
    assert!(matches!(at_once, Ok(Looked::AtOnce(1))));

    let mut tries = 0;
    let came = look(|| {
        tries += 1;
        Ok::<_, Infallible>((tries == 2).then_some(2))
    });
    assert!(matches!(came, Ok(Looked::Found(2))));

    let mut tries = 0;
    let failed = look(|| {
        tries += 1;
        if tries == 2 {
            Err("broken")
        } else {
            Ok(None::<()>)
        }
    });
    assert!(matches!(failed, Err("broken")));
}
