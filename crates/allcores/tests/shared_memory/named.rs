//! Memory with a name: who holds it, and when the name goes.

use allcores::multiprocessing::{Connection, Pipe, Process, SharedMemory, SharedMemoryError};

use crate::util::{exists, name, turn};

fn byte(memory: &SharedMemory) -> u8 {
    let mut byte = [0];
    memory.read_at(0, &mut byte).unwrap();
    byte[0]
}

#[test]
fn who_knows_the_name_attaches() {
    let _turn = turn();
    let name = name("attach");
    let memory = SharedMemory::create(&name, 5000).unwrap();
    memory.write_at(0, &[3]).unwrap();
    let there = SharedMemory::attach(&name).unwrap();
    assert_eq!((there.size(), there.name()), (5000, Some(&*name)));
    assert!(!there.same(&memory));
    assert_eq!(byte(&there), 3);
    there.write_at(4999, &[4]).unwrap();
    // The copies of a named one go by the file, everything else by the mapping: they are the same bytes.
    // SAFETY: nobody writes now.
    assert_eq!(unsafe { memory.as_slice() }[4999], 4);
    assert_eq!(
        std::fs::metadata(crate::util::path(&name)).unwrap().len(),
        5000
    );
}

#[test]
fn the_last_holder_takes_the_name_away_and_nobody_else() {
    let _turn = turn();
    let name = name("last");
    let creator = SharedMemory::create(&name, 100).unwrap();
    let attacher = SharedMemory::attach(&name).unwrap();
    attacher.close().unwrap();
    assert!(exists(&name), "who attaches takes nothing away");
    let attacher = SharedMemory::attach(&name).unwrap();
    creator.write_at(0, &[9]).unwrap();
    creator.close().unwrap();
    assert!(exists(&name), "somebody holds it still");
    let another = SharedMemory::attach(&name).unwrap();
    assert_eq!(byte(&another), 9);
    drop(attacher);
    assert!(exists(&name), "somebody holds it still");
    let copy = another.clone();
    drop(another);
    assert!(exists(&name), "a clone holds it as well");
    drop(copy);
    assert!(!exists(&name), "the last one takes it away");
    assert!(matches!(
        SharedMemory::attach(&name),
        Err(SharedMemoryError::NotFound { .. })
    ));
}

#[test]
fn a_name_is_taken_once() {
    let _turn = turn();
    let name = name("taken");
    let memory = SharedMemory::create(&name, 10).unwrap();
    memory.write_at(0, &[1]).unwrap();
    let refused = SharedMemory::create(&name, 10).unwrap_err();
    assert!(
        matches!(refused, SharedMemoryError::AlreadyExists { .. }),
        "{refused}"
    );
    // What was refused took nothing away either.
    assert_eq!(byte(&SharedMemory::attach(&name).unwrap()), 1);
}

#[test]
fn a_name_is_chosen() {
    let _turn = turn();
    let (a, b) = (
        SharedMemory::create_unique(1).unwrap(),
        SharedMemory::create_unique(1).unwrap(),
    );
    let name = a.name().unwrap();
    assert!(name.starts_with("psm_") && name.len() == 12, "{name}");
    assert_ne!(a.name(), b.name());
}

#[test]
fn names_that_cannot_be_are_refused() {
    for bad in ["", ".", "..", "a/b", "/a", "../a", "a\0b", &"a".repeat(256)] {
        for refused in [
            SharedMemory::create(bad, 1).unwrap_err(),
            SharedMemory::attach(bad).unwrap_err(),
        ] {
            assert!(
                matches!(refused, SharedMemoryError::InvalidName { .. }),
                "{bad:?}: {refused}"
            );
        }
    }
    let _turn = turn();
    let long = format!("{:a<255}", name("long"));
    drop(SharedMemory::create(&long, 1).unwrap());
    assert!(!exists(&long));
    assert!(matches!(
        SharedMemory::create("allcores-empty", 0),
        Err(SharedMemoryError::Empty)
    ));
}

#[test]
fn what_was_unlinked_lives_on_without_its_name() {
    let _turn = turn();
    let name = name("unlink");
    let old = SharedMemory::create(&name, 10).unwrap();
    let holder = SharedMemory::attach(&name).unwrap();
    old.write_at(0, &[1]).unwrap();
    holder.unlink().unwrap();
    assert!(!exists(&name));
    holder.unlink().unwrap(); // nothing left to do
    let new = SharedMemory::create(&name, 20).unwrap();
    new.write_at(0, &[2]).unwrap();
    assert_eq!((byte(&old), byte(&holder)), (1, 1));
    // The old one's holders leave the new one alone.
    old.unlink().unwrap();
    old.close().unwrap();
    drop(holder);
    assert!(exists(&name));
    assert_eq!(byte(&SharedMemory::attach(&name).unwrap()), 2);
    assert!(matches!(
        SharedMemory::new(1).unwrap().unlink(),
        Err(SharedMemoryError::Anonymous)
    ));
}

/// Holds what it creates and what it attaches until it is killed.
fn hold((mine, theirs, up): (String, String, Connection<(), ()>)) {
    let _created = SharedMemory::create(&mine, 1 << 20).unwrap();
    let _attached = SharedMemory::attach(&theirs).unwrap();
    up.send(&()).unwrap();
    let _ = up.recv();
}

#[test]
fn what_the_killed_left_is_removed_by_the_next_and_what_lives_is_not() {
    let _turn = turn();
    let (lost, kept) = (name("lost"), name("kept"));
    let held = SharedMemory::create(&kept, 10).unwrap();
    held.write_at(0, &[5]).unwrap();
    let (here, there) = Pipe().unwrap();
    let child = Process::new(hold, (lost.clone(), kept.clone(), there))
        .start()
        .unwrap();
    here.recv().unwrap();
    assert!(exists(&lost));
    child.kill().unwrap();
    assert!(child.join().is_err());
    // Attaching looks as well as creating does; it finds none.
    assert!(matches!(
        SharedMemory::attach(&lost),
        Err(SharedMemoryError::NotFound { .. })
    ));
    assert!(!exists(&lost));
    assert_eq!(byte(&SharedMemory::attach(&kept).unwrap()), 5);
    drop(held);
    assert!(!exists(&kept));
}

#[test]
fn a_forked_child_is_a_holder_of_its_own() {
    let _turn = turn();
    let name = name("fork");
    let memory = SharedMemory::create(&name, 10).unwrap();
    memory.write_at(0, &[6]).unwrap();
    let (here, there) = Pipe::<(), ()>().unwrap();
    // SAFETY: the child uses this thread only, and leaves by _exit.
    let child = unsafe { libc::fork() };
    if child == 0 {
        drop(here);
        let told = there.recv().is_ok();
        // The last one to hold it, by what it has from its parent.
        let alive = byte(&memory) == 6;
        let closed = memory.close().is_ok();
        // SAFETY: leaves without running the parent's exit handlers.
        unsafe { libc::_exit(i32::from(!(told && alive && closed))) };
    }
    drop(there);
    drop(memory);
    assert!(exists(&name), "the child holds it");
    here.send(&()).unwrap();
    let mut status = 0;
    // SAFETY: our own child, and a valid place.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0);
    assert!(!exists(&name), "the child was the last");
}

#[test]
fn a_forked_child_that_lets_go_robs_nobody() {
    let _turn = turn();
    let name = name("forked");
    let memory = SharedMemory::create(&name, 10).unwrap();
    // SAFETY: the child uses this thread only, and leaves by _exit.
    let child = unsafe { libc::fork() };
    if child == 0 {
        drop(memory);
        // SAFETY: leaves without running the parent's exit handlers.
        unsafe { libc::_exit(0) };
    }
    // SAFETY: our own child; its status is not asked for.
    let waited = unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
    assert_eq!(waited, child);
    assert!(exists(&name));
    drop(SharedMemory::attach(&name).unwrap());
    drop(memory);
    assert!(!exists(&name));
}

fn look(memory: SharedMemory) -> (Option<String>, u8) {
    memory.write_at(1, &[8]).unwrap();
    (memory.name().map(str::to_owned), byte(&memory))
}

#[test]
fn it_travels_with_its_name_and_its_message_holds_it() {
    let _turn = turn();
    let name = name("travel");
    let memory = SharedMemory::create(&name, 10).unwrap();
    memory.write_at(0, &[7]).unwrap();
    let child = Process::new(look, memory.clone()).start().unwrap();
    assert_eq!(child.result().unwrap(), (Some(name.clone()), 7));
    drop(child);
    assert!(exists(&name), "the child was not the last");
    let (a, b) = Pipe::<SharedMemory, ()>().unwrap();
    a.send(&memory).unwrap();
    memory.close().unwrap();
    // Whoever looks round now finds that somebody holds it.
    drop(SharedMemory::create_unique(1).unwrap());
    assert!(exists(&name), "the message holds it");
    let memory = b.recv().unwrap();
    assert_eq!(byte(&memory), 7);
    drop((a, b));
    drop(memory);
    assert!(!exists(&name));
}

#[test]
fn a_message_does_not_bring_another_one_of_the_same_name() {
    let _turn = turn();
    let name = name("swapped");
    let (a, b) = Pipe::<SharedMemory, ()>().unwrap();
    let old = SharedMemory::create(&name, 10).unwrap();
    a.send(&old).unwrap();
    old.unlink().unwrap();
    let new = SharedMemory::create(&name, 10).unwrap();
    let refused = b.recv().unwrap_err().to_string();
    assert!(refused.contains("unlinked and made anew"), "{refused}");
    drop(new);
    a.send(&old).unwrap();
    let refused = b.recv().unwrap_err().to_string();
    assert!(refused.contains("there is no SharedMemory"), "{refused}");
    assert!(!exists(&name));
}
