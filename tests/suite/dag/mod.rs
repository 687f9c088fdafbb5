//! Runs of workflows over a real queue.

mod faults;
mod flow;
mod stage;
