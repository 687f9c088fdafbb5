//! A job's life, kept in Postgres: enqueue, claim, acknowledge, and what keeps that honest.

mod attempt;
mod new_job;
pub mod postgres;
pub mod wake;

pub use attempt::{Attempt, Settling, StopReason};
pub use new_job::{Enqueued, MAX_DELAY, MAX_KEY_BYTES, MAX_PAYLOAD_BYTES, NewJob};
pub use postgres::ack::{
    Ack, DeadJob, Handed, Settled, Stale, Taker, finish, hurry, settle, settle_and_take,
};
pub use postgres::enqueue::{enqueue, enqueue_all};
pub use wake::Wake;
