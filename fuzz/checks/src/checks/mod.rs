//! One check for each kind of input.

pub(crate) mod attribute;
pub(crate) mod cron;
pub(crate) mod duration;
pub(crate) mod name;
pub(crate) mod payload;
