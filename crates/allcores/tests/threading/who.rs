//! current_thread, main_thread, enumerate, active_count.

use std::collections::HashSet;
use std::sync::Arc;

use allcores::threading::{
    Event, Thread, active_count, current_thread, enumerate, get_ident, get_native_id, main_thread,
    scope,
};

#[test]
fn a_started_thread_is_listed_until_it_has_ended() {
    let go = Arc::new(Event::new());
    let t = Thread::new({
        let go = go.clone();
        move || {
            go.wait();
            enumerate().contains(&current_thread())
        }
    });
    assert!(!enumerate().contains(&t.handle()));
    t.start().unwrap();
    assert!(enumerate().contains(&t.handle()));
    assert!(active_count() >= 2);
    go.set();
    t.join().unwrap();
    assert!(!enumerate().contains(&t.handle()));
    assert!(t.result().unwrap());
}

#[test]
fn scoped_threads_are_listed_as_well() {
    scope(|s| {
        let t = s.spawn(|| enumerate().contains(&current_thread()).then(current_thread));
        let handle = t.handle();
        assert_eq!(t.result().unwrap(), Some(handle.clone()));
        assert!(!enumerate().contains(&handle));
    })
    .unwrap();
}

#[test]
fn a_thread_that_cannot_be_started_is_not_listed() {
    let t = Thread::new(|| ()).name("never").stack_size(usize::MAX);
    assert!(t.start().is_err());
    assert!(enumerate().iter().all(|thread| thread.name() != "never"));
}

#[test]
fn a_foreign_thread_is_listed_once_it_asks_for_itself_and_until_it_ends() {
    let named = std::thread::Builder::new().name("of std".into());
    let (handle, listed) = named
        .spawn(|| {
            let unseen = enumerate().iter().all(|thread| thread.name() != "of std");
            let me = current_thread();
            assert_eq!(me.ident(), Some(get_ident()));
            assert_eq!(me.native_id(), Some(get_native_id()));
            assert!(me.is_alive() && !me.is_main());
            assert_eq!(me, current_thread());
            let seen = enumerate().contains(&me);
            (me, unseen && seen)
        })
        .unwrap()
        .join()
        .unwrap();
    assert!(listed);
    assert_eq!(handle.name(), "of std");
    assert!(!handle.is_alive());
    assert!(!enumerate().contains(&handle));
    handle.join().unwrap();

    let nameless = std::thread::spawn(current_thread).join().unwrap();
    let number = nameless.name().strip_prefix("Dummy-").expect("no name");
    assert!(number.parse::<u32>().is_ok());
}

#[test]
fn the_main_thread_is_known_without_having_asked() {
    let main = main_thread();
    assert!(main.is_main() && main.is_alive());
    assert_eq!(main.name(), "MainThread");
    assert_eq!(main.native_id(), Some(std::process::id()));
    assert_eq!(main, main_thread());
    assert!(enumerate().contains(&main));
    assert!(main.ident().is_some());
    // Tests run in threads of their own.
    assert_ne!(main, current_thread());
    assert_eq!(main.join_timeout(std::time::Duration::ZERO), Ok(false));
}

#[test]
fn numbers_are_unique_and_never_0() {
    let numbers: Vec<_> = scope(|s| {
        let threads: Vec<_> = (0..50).map(|_| s.spawn(get_ident)).collect();
        threads.iter().map(|t| t.result().unwrap()).collect()
    })
    .unwrap();
    assert!(!numbers.contains(&0));
    assert_eq!(numbers.iter().collect::<HashSet<_>>().len(), 50);
    assert_eq!(get_ident(), get_ident());
}
