//! Connections, through the public API and against raw bytes on the wire.

mod auth;
mod frame;
mod handles;
mod messages;
mod util;
mod wire;
