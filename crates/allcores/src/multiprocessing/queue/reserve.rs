//! A queue whose messages one process has to itself: others that want one wait.
//!
//! The interpreter's queues have a lock that consumers hold while they read, and pools and other libraries take it to be alone
//! with what is there. Here it is a lock of its own, beside that of the consumers: nobody but those who get waits for it,
//! however long it is held, and it costs those who get a look at a line that they read anyway.

use super::core::{Core, Turn};
use super::wait::{Awaited, Ended};
use crate::sync::{Acquired, Deadline, Lock};

impl Core {
    /// Takes the messages for this process alone. Nobody else takes one once this returns.
    pub(super) fn reserve(&self, deadline: Deadline) -> Result<(), Ended> {
        self.take_reserved(deadline)?;
        // Whoever has his turn now may not have seen it; whoever comes after him does.
        drop(Turn::take_patiently(self, &self.body().get));
        Ok(())
    }

    fn take_reserved(&self, deadline: Deadline) -> Result<(), Ended> {
        let reserved = &self.body().reserved;
        match reserved.acquire(self.scope(), deadline) {
            Acquired::Yes => Ok(()),
            Acquired::OwnerDied(_) => {
                // It protects nothing that may be half done.
                reserved.recover();
                Ok(())
            }
            Acquired::TimedOut => Err(Ended::TimedOut),
            Acquired::Interrupted => Err(Ended::Interrupted),
        }
    }

    /// Ends it, whichever process began it; whether there was anything to end.
    pub(super) fn unreserve(&self) -> bool {
        // SAFETY: the lock lies in a cell that our handle holds.
        unsafe { Lock::release(&raw const self.body().reserved, self.scope()) }.is_ok()
    }

    pub(super) fn is_reserved(&self) -> bool {
        self.body().reserved.is_held()
    }

    /// For a consumer who has his turn: he may see it after [`Core::reserve`] began, and must once that has returned.
    #[inline]
    pub(super) fn is_reserved_by_another(&self) -> bool {
        self.is_reserved() && !self.body().reserved.is_mine(self.scope())
    }

    /// Waits until the messages are for everybody.
    #[cold]
    pub(super) fn until_unreserved(&self, deadline: Deadline) -> Result<(), Ended> {
        // A wake-up that this one has had is for whoever may take the message.
        self.pass_on(Awaited::Items);
        self.take_reserved(deadline)?;
        // SAFETY: as above.
        unsafe { Lock::release_mine(&raw const self.body().reserved, self.scope()) };
        Ok(())
    }
}
