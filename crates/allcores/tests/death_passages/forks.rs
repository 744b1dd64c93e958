//! Processes that are forked, and join.

use super::*;

/// The parent drops its handle, and its place is used by others, when the child has made so many steps of joining. `told`:
/// whether it knows of the fork. What the child finds.
fn found_by_a_child_that_joins(told: bool, point: u64) -> (u32, u64) {
    let lock = a_lock();
    let found = number();
    if told {
        face::before_fork();
    }
    let finished = number();
    let child = Process::start(|| {
        Stepped::begin();
        face::after_fork_in_child();
        finished.store(1, SeqCst);
        found.store(u32::from(*lock.acquire().unwrap()), SeqCst);
    });
    if told {
        face::after_fork_in_parent();
    }
    let mut led = Stepped::meet(child.pid());
    while led.steps < point && finished.load(SeqCst) == 0 {
        assert!(led.step(), "it ended by itself");
    }
    let steps = led.steps;
    let others = std::thread::scope(|scope| {
        let thread = number();
        let dropping = scope.spawn(move || {
            // SAFETY: asks for a number.
            thread.store(unsafe { libc::gettid() } as u32, SeqCst);
            drop(lock);
            others()
        });
        // The child may have stopped with the arena's guard.
        until("the parent has dropped it, or waits for the child", || {
            let (pid, tid) = (std::process::id() as i32, thread.load(SeqCst) as i32);
            dropping.is_finished() || is_asleep(pid, tid) == Some(true)
        });
        led.let_go();
        dropping.join().unwrap()
    });
    child.succeeds();
    drop(others);
    (found.load(SeqCst), steps)
}

/// Seen red: `in_child` that closes its pipe before it joins.
pub(super) fn handle_dropped_while_the_child_joins() {
    let cells = settled();
    let (_, length) = found_by_a_child_that_joins(true, u64::MAX);
    for point in points(length, 100) {
        let (found, _) = found_by_a_child_that_joins(true, point);
        assert_eq!(
            found,
            u32::from(INHERITED),
            "dropped at instruction {point}"
        );
    }
    assert_eq!(settled(), cells, "what was kept has come back");
}

/// The control of the one before: it can see what nobody keeps.
pub(super) fn fork_that_nobody_tells_of() {
    let (found, _) = found_by_a_child_that_joins(false, 1);
    assert_eq!(found, u32::from(LATER));
}

/// Seen red: `settle` that finds no child at its end.
pub(super) fn child_killed_while_it_joins() {
    let before = settled();
    let once = |limit: u64| {
        let lock = a_lock();
        face::before_fork();
        let (child, steps) = led(|| {}, face::after_fork_in_child, limit);
        face::after_fork_in_parent();
        drop(lock);
        child.kill();
        assert_eq!(settled(), before, "killed at instruction {steps}");
        steps
    };
    let length = once(u64::MAX);
    for point in points(length, 100) {
        once(point);
    }
}

/// Its child is told nothing more, and is killed with it: all that both had comes back.
///
/// Seen red: `guarded.settle` that lets go of nothing.
pub(super) fn parent_killed_while_it_forks() {
    let before = settled();
    let once = |limit: u64| {
        let fork = || {
            let lock = a_lock();
            face::before_fork();
            let child = Process::start(|| {
                face::after_fork_in_child();
                pause();
            });
            face::after_fork_in_parent();
            drop(lock);
            child.kill();
            drop(a_lock());
        };
        let (parent, steps) = led(|| drop(a_lock()), fork, limit);
        parent.kill();
        // The grandchild is killed by that, not at once.
        until("all that both had comes back", || settled() == before);
        steps
    };
    let length = once(u64::MAX);
    for point in points(length, 40) {
        once(point);
    }
}

/// Workers fork, and let go at once of what their children have yet to come to.
///
/// Seen red: `before` that notes nothing.
pub(super) fn fork_storm() {
    let before = settled();
    let storm = Storm::new(3, 1, 200);
    let work = |seat: &Seat| {
        let lock = a_lock();
        face::before_fork();
        let mut child = Process::start(|| {
            face::after_fork_in_child();
            if *lock.acquire().unwrap() != INHERITED {
                // Not a word here: to the child of one that was killed this may happen, see docs/limits.md.
                // SAFETY: ends the child.
                unsafe { libc::_exit(1) };
            }
        });
        face::after_fork_in_parent();
        drop(lock);
        let others = others();
        if child.wait() != Status::Exited(0) {
            seat.complain("a child found what is not its lock");
        }
        seat.floor.told.fetch_add(1, SeqCst);
        drop(others);
    };
    storm.rage(&work, |_| {}, || {});
    assert!(
        storm.floor.told.load(SeqCst) > 0,
        "no child came to its lock"
    );
    // Children of the killed are killed by that, not at once.
    until("all comes back", || settled() == before);
}
