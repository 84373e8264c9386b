//! What operators see: health, metrics, the command line.

mod command_line;
mod health;
mod metrics;
mod settings;
