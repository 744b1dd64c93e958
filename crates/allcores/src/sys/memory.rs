//! memfd, mapping, growing.
