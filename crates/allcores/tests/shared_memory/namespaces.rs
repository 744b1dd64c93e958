//! Machines that lack something, made by mount namespaces: a tiny /dev/shm, one that cannot be written, none at all. Passes
//! without a look where namespaces are not permitted.

use std::process::Command;

use allcores::multiprocessing::{
    Array, Barrier, Condition, Event, Lock, Pipe, Process, RLock, Semaphore, SharedMemory,
    SharedMemoryError, Value,
};

const INSIDE: &str = "ALLCORES_TEST_INSIDE";

/// Runs the test `inside` in a mount namespace of its own, after the shell has done `setup` there.
fn within(setup: &str, inside: &str) {
    let setup = format!("set -e; mount --make-rprivate /; {setup}; exec \"$0\" \"$@\"");
    let permitted = ["-m", "-Urm"].into_iter().find(|flags| {
        let tried = Command::new("unshare").args([flags, "true"]).output();
        tried.is_ok_and(|tried| tried.status.success())
    });
    let Some(flags) = permitted else {
        eprintln!("mount namespaces are not permitted here: not tested");
        return;
    };
    let output = Command::new("unshare")
        .args([flags, "sh", "-c", &setup])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", inside, "--ignored", "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", output.status);
    assert!(said.contains("1 passed"), "{said}");
}

/// Whether this is the inside of such a namespace, and not somebody's `--ignored`.
fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

#[test]
fn a_full_directory_is_an_error_and_never_a_signal() {
    within(
        "mount -t tmpfs -o size=64k none /dev/shm",
        "namespaces::in_a_tiny_directory",
    );
}

#[test]
#[ignore = "runs in a namespace"]
fn in_a_tiny_directory() {
    if !is_inside() {
        return;
    }
    let fits = SharedMemory::create("fits", 40_000).unwrap();
    let refused = SharedMemory::create("too-large", 40_000).unwrap_err();
    assert!(
        matches!(refused, SharedMemoryError::NoSpace { wanted: 40_000, .. }),
        "{refused}"
    );
    assert!(refused.to_string().contains("/dev/shm larger"), "{refused}");
    assert!(SharedMemory::create_unique(1 << 30).is_err());
    // What there is has its memory, whatever others take.
    let rest = SharedMemory::create("rest", 16_000).unwrap();
    // SAFETY: nobody else has these.
    unsafe {
        fits.as_slice_mut().fill(1);
        rest.as_slice_mut().fill(1);
    }
    // Another program's file with holes in it: provided when it is attached, or refused.
    std::fs::File::create("/dev/shm/holes")
        .and_then(|file| file.set_len(40_000))
        .unwrap();
    let refused = SharedMemory::attach("holes").unwrap_err();
    assert!(
        matches!(refused, SharedMemoryError::NoSpace { .. }),
        "{refused}"
    );
    drop(fits);
    let attached = SharedMemory::attach("holes").unwrap();
    // SAFETY: nobody else has it.
    unsafe { attached.as_slice_mut().fill(1) };
    drop(rest);
    assert_eq!(std::fs::read_dir("/dev/shm").unwrap().count(), 1);
    everything_but_names();
}

#[test]
fn without_the_directory_everything_but_names_works() {
    // A /dev with nothing in it but /dev/null, which is kept under a mount of its own meanwhile.
    let none = "mount -t tmpfs none /mnt && touch /mnt/null && mount --bind /dev/null /mnt/null \
                && mount -t tmpfs none /dev && touch /dev/null && mount --bind /mnt/null /dev/null \
                && test ! -e /dev/shm";
    within(none, "namespaces::without_names");
}

#[test]
fn where_the_directory_cannot_be_written_everything_but_names_works() {
    within(
        "mount -t tmpfs -o ro none /dev/shm",
        "namespaces::without_names",
    );
}

#[test]
#[ignore = "runs in a namespace"]
fn without_names() {
    if !is_inside() {
        return;
    }
    for refused in [
        SharedMemory::create("name", 10).unwrap_err(),
        SharedMemory::create_unique(10).unwrap_err(),
    ] {
        assert!(
            matches!(refused, SharedMemoryError::NoDirectory { .. }),
            "{refused}"
        );
        assert!(
            refused.to_string().contains("SharedMemory::new()"),
            "{refused}"
        );
    }
    let refused = SharedMemory::attach("name").unwrap_err();
    assert!(
        matches!(
            refused,
            SharedMemoryError::NoDirectory { .. } | SharedMemoryError::NotFound { .. }
        ),
        "{refused}"
    );
    everything_but_names();
}

type Parts = (
    (Lock<u64>, RLock<u64>, Semaphore, Event),
    (Condition, Barrier, Value<u64>, Array<u64>, SharedMemory),
);

fn use_all(((lock, rlock, semaphore, event), (_, barrier, value, array, memory)): Parts) -> u64 {
    *lock.acquire().unwrap() += 1;
    semaphore.acquire();
    value.set(2).unwrap();
    array.set(3, 3).unwrap();
    memory.write_at(4, &[4]).unwrap();
    event.set();
    barrier.wait().unwrap();
    *rlock.acquire().unwrap()
}

fn everything_but_names() {
    let parts: Parts = (
        (
            Lock::new(0).unwrap(),
            RLock::new(5).unwrap(),
            Semaphore::new(1).unwrap(),
            Event::new().unwrap(),
        ),
        (
            Condition::new().unwrap(),
            Barrier::new(2).unwrap(),
            Value::new(0).unwrap(),
            Array::new(100_000).unwrap(),
            SharedMemory::new(100_000).unwrap(),
        ),
    );
    let (a, b) = Pipe::<Event, Event>().unwrap();
    a.send(&parts.0.3).unwrap();
    b.recv().unwrap();
    let (lock, event, barrier) = (parts.0.0.clone(), parts.0.3.clone(), parts.1.1.clone());
    let (value, array, memory) = (parts.1.2.clone(), parts.1.3.clone(), parts.1.4.clone());
    let child = Process::new(use_all, parts).start().unwrap();
    event.wait();
    barrier.wait().unwrap();
    assert_eq!(child.result().unwrap(), 5);
    assert_eq!(*lock.acquire().unwrap(), 1);
    assert_eq!(value.get().unwrap(), 2);
    assert_eq!(array.get(3).unwrap(), 3);
    assert_eq!(
        memory.atomics::<u8>()[4].load(std::sync::atomic::Ordering::Relaxed),
        4
    );
}
