//! The contract's business rules, one file each. Sessions, views and batches apply the same ones.

mod bot;
mod consent;
mod country;
mod heartbeat;
mod leave;
mod reading;

pub use bot::{BotFilter, BotRule, BotWord, FreesCrawler};
pub use consent::{analytics_is_granted, kept_address};
pub use country::{country_code, has_one_time_zone};
pub use heartbeat::HEARTBEAT_SECONDS;
pub use leave::{clamp_duration_seconds, clamp_scroll_depth};
pub use reading::reading_seconds;
