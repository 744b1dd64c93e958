//! Values as bytes: what each codec makes of them, and of bytes that nobody should have sent.

#[path = "../../../../fuzz/src/any.rs"]
#[allow(unreachable_pub, reason = "shared with the fuzz targets")]
mod any;
mod hostile;
mod memory;
mod peers;
#[path = "../python/mod.rs"]
mod python;
mod round_trip;
