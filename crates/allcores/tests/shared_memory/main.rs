//! SharedMemory: without a name, with one, against stock Python, and on machines that lack something.

mod anonymous;
mod hostile;
mod named;
mod namespaces;
mod python;
mod util;
