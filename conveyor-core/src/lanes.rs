//! lanes
/// x
pub const AGEING: u32 = 16;
