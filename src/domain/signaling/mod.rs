//! Signaling (contract section 7): who is in a room, and what reaches whom.
//!
//! [`room`] is the room, wherever its sockets are; [`hall`] the rooms of one object; [`relay`] is what the Worker does for a
//! socket that names its room in its first frame; [`door`] is what both do with a frame first.

pub mod door;
pub mod hall;
pub mod relay;
pub mod room;
