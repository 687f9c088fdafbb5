//! Listeners, through the real door: `door` what is let in and `pipeline` what follows.

mod door;
mod house;
mod pipeline;

pub(crate) use house::House;
