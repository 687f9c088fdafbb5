//! Workflows that order something of machines: what they wait for, with whose rights, and how often it is done.

mod course;
mod ends;
mod rights;
mod stage;
