//! Schedules: each tick once whatever dies, what was missed, what came of it, who may, and what is refused.

mod bounds;
mod course;
mod doors;
mod keys;
mod kill;
mod refused;
mod stage;
mod ticks;
mod waiting;
