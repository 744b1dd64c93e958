//! A lock whose owner is killed, in processes made by fork.
use allcores::multiprocessing::{Event, Lock, RLock, Semaphore};

fn child(work: impl FnOnce()) -> i32 {
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        work();
        unsafe { libc::_exit(0) };
    }
    pid
}
fn kill(pid: i32) {
    unsafe { libc::kill(pid, libc::SIGKILL) };
    let mut st = 0;
    unsafe { libc::waitpid(pid, &mut st, 0) };
}

#[test]
fn killed_holder() {
    let lock = Lock::new(0u64).unwrap();
    let ready = Event::new().unwrap();
    for _ in 0..200 {
        ready.clear();
        let pid = child(|| {
            let mut guard = lock.acquire().unwrap();
            *guard += 1;
            ready.set();
            loop {
                std::thread::park()
            }
        });
        ready.wait();
        let waiter = std::thread::scope(|s| {
            let t = s.spawn(|| {
                let died = lock.acquire().unwrap_err();
                assert!(died.pid().is_none_or(|found| found == pid as u32));
                let g = died.into_guard();
                g.recover();
            });
            kill(pid);
            t.join()
        });
        waiter.unwrap();
        *lock.acquire().unwrap() += 1;
    }
    assert_eq!(*lock.acquire().unwrap(), 400);
}

#[test]
fn rlock_thread_end() {
    let lock = RLock::new(()).unwrap();
    std::thread::scope(|s| {
        s.spawn(|| {
            std::mem::forget(lock.acquire().unwrap());
        })
        .join()
        .unwrap();
    });
    assert!(lock.acquire().is_err());
    let sem = Semaphore::new(0).unwrap();
    let pid = child(|| sem.release().unwrap());
    sem.acquire();
    kill(pid);
}

#[test]
fn thread_end_is_no_death() {
    let lock = Lock::new(()).unwrap();
    std::thread::spawn({
        let lock = lock.clone();
        move || {
            std::mem::forget(lock.acquire().unwrap());
        }
    })
    .join()
    .unwrap();
    let pid = child(|| {
        assert!(lock.try_acquire().unwrap().is_none());
        unsafe { libc::_exit(7) }
    });
    let mut st = 0;
    unsafe { libc::waitpid(pid, &mut st, 0) };
    assert_eq!(libc::WEXITSTATUS(st), 7);
    lock.release().unwrap();
}
