//! The message model shared by wire and disk: what stands in a message besides its body.

pub mod delay_level;
pub mod id;
pub mod properties;
pub mod sys_flag;
pub mod tags_code;
