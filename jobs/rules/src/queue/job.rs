//! What makes a piece of data a job.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{About, Kind};

/// A payload that can stand in the queue: plain data, with the kind that says who executes it.
///
/// It is stored as JSON and may be read by a later version, so fields are added with a default and
/// never change their meaning.
pub trait Job: Serialize + DeserializeOwned + Send + Sync {
    /// The kind whose handler takes this payload.
    const KIND: Kind;

    /// What it names, for the log.
    fn about(&self) -> About;
}
