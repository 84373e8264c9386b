//! What operators see: health, metrics, the command line.

mod command_line;
mod dead_letters;
mod description;
mod health;
mod memory;
mod metrics;
mod settings;
mod watching;
