//! Machines on simulated hosts, over a real queue.

mod hold;
mod life;
mod order;
mod stage;
