//! When a socket is too slow for what it subscribes to (Q20).

/// A socket is too slow if this many bytes are unsent when more is to be sent, and the number does
/// not fall within a second (Q20). The kernel buffers some megabytes before the count starts, and
/// one delivery adds at most another. 50 such sockets take half of an object's memory (platform
/// facts 2.8).
pub const SLOW_BYTES: u32 = 1024 * 1024;
/// A socket with this many unsent bytes is closed at once (Q20).
pub const FULL_BYTES: u32 = 8 * SLOW_BYTES;
