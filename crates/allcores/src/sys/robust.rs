//! pthread robust mutexes.
