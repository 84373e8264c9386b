//! What a heartbeat adds (contract, section 2).

/// The seconds that one heartbeat adds to its session's duration: clients send one so often.
pub const HEARTBEAT_SECONDS: i32 = 30;
