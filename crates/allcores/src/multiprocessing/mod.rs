//! Processes, Connections, and the primitives in shared memory.
