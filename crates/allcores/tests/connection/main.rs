//! Connections, through the public API and against raw bytes on the wire.

mod auth;
mod buffered;
mod frame;
mod handles;
mod handshake;
mod lanes;
mod large;
mod listener;
mod looking;
mod messages;
mod packets;
mod strangers;
mod timed;
mod util;
mod wire;
