//! Signaling (contract section 7): who is in a room, and which frames reach whom.
//!
//! [`room`] is one room, wherever its sockets are; [`hall`] the rooms of one object; [`relay`] what
//! the Worker does for a socket that names its room in its first frame; [`door`] the checks that
//! both apply to a frame first.

pub mod door;
pub mod hall;
pub mod relay;
pub mod room;
