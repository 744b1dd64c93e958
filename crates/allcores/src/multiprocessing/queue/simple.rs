//! SimpleQueue: the least of a queue.

use std::fmt;
use std::panic::Location;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::error::{GetError, PutError};
use super::typed::Queue;
use crate::shm::{Arena, ShmError, arena};

/// A [`Queue`] for any number of messages, with `put` and `get` alone. Python's `multiprocessing.SimpleQueue`; here it
/// is no faster than the other, and says that nothing more is needed.
///
/// ```
/// use allcores::multiprocessing::SimpleQueue;
/// let queue = SimpleQueue::new()?;
/// queue.put(&"tea".to_string())?;
/// assert_eq!(queue.get()?, "tea");
/// assert!(queue.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SimpleQueue<T>(Queue<T>);

impl<T> SimpleQueue<T> {
    /// A queue in the arena that this process shares with its children.
    ///
    /// # Errors
    /// As for [`Queue::new`].
    #[track_caller]
    pub fn new() -> Result<SimpleQueue<T>, ShmError> {
        Queue::make(arena::common()?, None, false, Location::caller()).map(SimpleQueue)
    }

    /// A queue in a separate arena: see [`Arena`].
    ///
    /// # Errors
    /// As for [`Queue::new`].
    #[track_caller]
    pub fn new_in(arena: &Arena) -> Result<SimpleQueue<T>, ShmError> {
        Queue::make(arena.inner(), None, false, Location::caller()).map(SimpleQueue)
    }

    /// Whether it holds no message now.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Closes it for all who hold it: see [`Queue::close`].
    pub fn close(&self) {
        self.0.close();
    }
}

impl<T: Serialize> SimpleQueue<T> {
    /// Puts a value; never waits for room.
    ///
    /// # Errors
    /// As for [`Queue::put`].
    pub fn put(&self, value: &T) -> Result<(), PutError> {
        self.0.put(value)
    }
}

impl<T: DeserializeOwned> SimpleQueue<T> {
    /// Gets the next value, and waits for one if there is none.
    ///
    /// # Errors
    /// As for [`Queue::get`].
    pub fn get(&self) -> Result<T, GetError> {
        self.0.get()
    }
}

impl<T> Clone for SimpleQueue<T> {
    fn clone(&self) -> SimpleQueue<T> {
        SimpleQueue(self.0.clone())
    }
}

impl<T> fmt::Debug for SimpleQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SimpleQueue").field(&self.0).finish()
    }
}

impl<T> Serialize for SimpleQueue<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, T> Deserialize<'de> for SimpleQueue<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Queue::deserialize(deserializer).map(SimpleQueue)
    }
}
