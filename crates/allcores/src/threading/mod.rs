//! Threads, and the primitives in private memory.
