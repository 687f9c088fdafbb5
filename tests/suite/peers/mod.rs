//! Millrace's side of the benchmark beside its peers.

#[path = "../../benches/peers/millrace.rs"]
mod millrace;
mod small;
#[path = "../../benches/peers/starts.rs"]
mod starts;
#[path = "../../benches/peers/verbs.rs"]
mod verbs;
