//! What is counted and timed, named once.
//!
//! `catalog` has every metric with its labels, buckets and meaning; `record` has one typed function per
//! thing that happens, so that no call site names a metric; `recorder` keeps the figures and writes
//! them out as Prometheus reads them. Labels are bounded: kinds, queues, outcomes, routes; never a
//! tenant, an id, an address or the text of an error.

mod catalog;
mod record;
mod recorder;

pub use catalog::{CATALOG, Metric, Shape};
pub use record::*;
pub use recorder::{install, render};
