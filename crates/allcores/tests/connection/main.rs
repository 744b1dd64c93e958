//! Connections, through the public API and against raw bytes on the wire.

mod auth;
mod frame;
mod handles;
mod large;
mod listener;
mod messages;
mod timed;
mod util;
mod wire;
