//! Puts and gets that wait until they have moved something, or have a reason not to.

use std::time::Duration;

use super::error::{GetError, PutError};
use super::poll;
use super::put::{NotPut, Outbound};
use super::take::NotTaken;
use super::typed::Queue;
use super::wait::{Awaited, Ended, Wait};
use crate::sync::Deadline;

/// How long a call that must not wait waits for another one to leave the queue, which is there for less than a microsecond
/// unless it is stopped in the midst of it.
const BRIEFLY: Duration = Duration::from_millis(50);

/// What ends a wait without a result.
///
/// Hidden from the documentation, as [`face`](crate::face) is.
#[derive(Debug)]
pub enum Stopped<E> {
    /// A signal handler ran. Call again with the same deadline to go on.
    Interrupted,
    /// This is why.
    Failed(E),
}

impl<E> From<E> for Stopped<E> {
    fn from(error: E) -> Stopped<E> {
        Stopped::Failed(error)
    }
}

/// Calls `attempt` until no signal has stopped it.
#[inline]
pub(super) fn through_signals<R, E>(
    mut attempt: impl FnMut() -> Result<R, Stopped<E>>,
) -> Result<R, E> {
    loop {
        match attempt() {
            Ok(result) => return Ok(result),
            Err(Stopped::Failed(error)) => return Err(error),
            Err(Stopped::Interrupted) => {}
        }
    }
}

impl<T> Queue<T> {
    /// Puts at least one of the messages, and waits for room if need be.
    pub(super) fn put_messages(
        &self,
        messages: &[Outbound<'_>],
        deadline: Deadline,
    ) -> Result<usize, PutError> {
        through_signals(|| self.put_or_stop(messages, deadline, true))
    }

    /// Calls `attempt` until it does not find the queue empty, or that is to be reported.
    #[inline]
    pub(super) fn when_there<R>(
        &self,
        deadline: Deadline,
        mut attempt: impl FnMut(Deadline) -> Result<R, NotTaken>,
    ) -> Result<R, GetError> {
        through_signals(|| self.get_or_stop(deadline, &mut attempt, true))
    }

    /// As [`Queue::put_messages`], but a signal ends the wait; and only if it `heeds_holders` does it end because nobody
    /// else is left.
    pub(super) fn put_or_stop(
        &self,
        messages: &[Outbound<'_>],
        deadline: Deadline,
        heeds_holders: bool,
    ) -> Result<usize, Stopped<PutError>> {
        let mut wait = None;
        let put = self.put_waiting(messages, deadline, heeds_holders, &mut wait);
        if wait.is_some() && put.is_err() {
            self.core().pass_on(Awaited::Room);
        }
        put
    }

    fn put_waiting(
        &self,
        messages: &[Outbound<'_>],
        deadline: Deadline,
        heeds_holders: bool,
        wait: &mut Option<Wait>,
    ) -> Result<usize, Stopped<PutError>> {
        let core = self.core();
        let mut turn = deadline;
        loop {
            let not_put = match core.put_batch(messages, turn) {
                Ok(put) => return Ok(put),
                Err(not_put) => not_put,
            };
            match not_put {
                NotPut::Interrupted => return Err(Stopped::Interrupted),
                NotPut::Full if deadline.is_now() && !core.is_full() && turn.is_now() => {
                    turn = Deadline::after(BRIEFLY);
                    continue;
                }
                NotPut::Full => {}
                NotPut::Closed => return Err(PutError::Closed.into()),
                NotPut::TooLong(length) => return Err(PutError::too_long(length).into()),
                NotPut::Damaged => return Err(PutError::from(super::Damaged).into()),
                NotPut::Shm(error) => return Err(PutError::from(error).into()),
            }
            if deadline.is_now() {
                return Err(PutError::Full.into());
            }
            let wait = wait.get_or_insert_with(|| Wait::new(core.scope(), deadline, heeds_holders));
            match core.wait(Awaited::Room, wait) {
                Ok(()) => {}
                Err(Ended::Interrupted) => return Err(Stopped::Interrupted),
                Err(Ended::TimedOut) => return Err(PutError::Full.into()),
                Err(Ended::Disconnected) => return Err(PutError::Disconnected.into()),
            }
        }
    }

    /// As [`Queue::when_there`], in the manner of [`Queue::put_or_stop`].
    #[inline]
    pub(super) fn get_or_stop<R>(
        &self,
        deadline: Deadline,
        attempt: impl FnMut(Deadline) -> Result<R, NotTaken>,
        heeds_holders: bool,
    ) -> Result<R, Stopped<GetError>> {
        let mut wait = None;
        let got = self.get_waiting(deadline, attempt, heeds_holders, &mut wait);
        if wait.is_some() && got.is_err() {
            self.core().pass_on(Awaited::Items);
        }
        got
    }

    #[inline]
    fn get_waiting<R>(
        &self,
        deadline: Deadline,
        mut attempt: impl FnMut(Deadline) -> Result<R, NotTaken>,
        heeds_holders: bool,
        wait: &mut Option<Wait>,
    ) -> Result<R, Stopped<GetError>> {
        let core = self.core();
        let mut turn = deadline;
        loop {
            match attempt(turn) {
                Ok(taken) => {
                    poll::looked(core);
                    return Ok(taken);
                }
                Err(NotTaken::Interrupted) => return Err(Stopped::Interrupted),
                Err(NotTaken::Empty) => poll::looked(core),
                Err(NotTaken::Reserved) => match core.until_unreserved(deadline) {
                    Ok(()) => continue,
                    Err(Ended::Interrupted) => return Err(Stopped::Interrupted),
                    Err(_) => return Err(GetError::Empty.into()),
                },
                Err(NotTaken::Closed) => return Err(GetError::Closed.into()),
                Err(NotTaken::Damaged) => return Err(GetError::from(super::Damaged).into()),
            }
            if deadline.is_now() {
                if core.len() == 0 || !turn.is_now() {
                    return Err(GetError::Empty.into());
                }
                turn = Deadline::after(BRIEFLY);
                continue;
            }
            let wait = wait.get_or_insert_with(|| Wait::new(core.scope(), deadline, heeds_holders));
            match core.wait(Awaited::Items, wait) {
                Ok(()) => {}
                Err(Ended::Interrupted) => return Err(Stopped::Interrupted),
                Err(Ended::TimedOut) => return Err(GetError::Empty.into()),
                Err(Ended::Disconnected) => return Err(GetError::Disconnected.into()),
            }
        }
    }
}
