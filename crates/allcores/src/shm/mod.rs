//! Shared memory: the arena that primitives live in, and which types may lie there.
