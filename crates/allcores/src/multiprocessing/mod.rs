//! Processes, Connections, and the seven primitives in shared memory.
//!
//! Every primitive here is a handle on a few words in one arena that this process shares with its children: cheap to clone,
//! and sent to other processes like any value, in the arguments of a Process or through a Connection. A thousand of them
//! cost one descriptor, and nothing has a name that could be left behind.

mod array;
mod barrier;
mod condition;
pub mod connection;
mod cpu_count;
mod event;
mod lock;
mod owned_semaphore;
mod owner_died;
pub(crate) mod piece;
pub mod process;
pub mod queue;
mod rlock;
mod semaphore;
mod shared_memory;
mod ticket;
pub mod transfer;
mod travel;
mod value;

pub use array::{Array, ArrayError, ArrayGuard, RawArray};
pub use barrier::{Barrier, BarrierError, BarrierWaitResult, BrokenBarrier, InvalidParties};
pub use condition::{Condition, ConditionGuard, ForeignLock, WaitError};
pub use connection::{Connection, Never, Pipe, SimplexPipe, StreamPipe, wait};
pub use cpu_count::cpu_count;
pub use event::Event;
pub use lock::{Lock, LockGuard};
pub use owned_semaphore::{OwnedPermit, OwnedSemaphore};
pub use owner_died::{HolderDied, OwnerDied};
pub use process::{Process, active_children, current_process, join_all, parent_process};
pub use process::{StartMethod, set_forkserver_preload, set_start_method, start_method};
pub use queue::{JoinableQueue, Queue, SimpleQueue};
pub use rlock::{RLock, RLockGuard};
pub use semaphore::{BoundedSemaphore, Permit, ReleaseManyError, Semaphore};

pub use shared_memory::{SharedMemory, SharedMemoryError};
pub use ticket::{Inherited, Ticket, TicketError};
pub use value::{RawValue, Value};

pub use crate::sync::lock::NotHeld;
pub use crate::sync::owned::NoPermit;
pub use crate::sync::rlock::NotOwner;
pub use crate::sync::semaphore::TooManyPermits;

pub(crate) use condition::{CONDITION_BYTES, has_overflow};
pub(crate) use owned_semaphore::reclaim;
