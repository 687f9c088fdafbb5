//! One contract for every host: what is asked of the simulated one is asked of all.

mod hosts;
mod random;
mod repeat;
mod table;
mod trust;
