//! The audit: every operation told once, in chains that show what was done to them.

mod canary;
mod chain;
mod kill;
mod read;
mod stage;
mod told;
