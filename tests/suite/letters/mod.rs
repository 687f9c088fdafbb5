//! Dead letters as a product: what they have in common, and what is done to all that match.

mod groups;
mod shape;
pub(super) mod stage;
mod sweep_steps;
mod sweeps;
