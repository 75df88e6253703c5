//! When a socket is too slow for what it subscribes to (Q20).

/// A socket that has not taken this many bytes when more is to be sent, and takes none of them
/// within a second, is too slow (Q20). The kernel takes some megabytes before the count starts,
/// and one delivery adds at most another. 50 such sockets are half of an object's memory
/// (platform facts 2.8).
pub const SLOW_BYTES: u32 = 1024 * 1024;
/// A socket that has not taken this many bytes is closed at once (Q20).
pub const FULL_BYTES: u32 = 8 * SLOW_BYTES;
