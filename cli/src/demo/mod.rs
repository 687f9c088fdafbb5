//! `millrace demo`: tells the whole story on the running system, and fails if any part is untrue.
//!
//! `story` is the order of events; `operations` asks the system, over HTTP as any client would;
//! `definitions` are the workflows and pipelines; `machine` is the part about machines; `hold` knows what would keep the story waiting; `timeline` tells what
//! happened and when; `worker` is the process that is killed.

mod client;
mod definitions;
mod hold;
mod machine;
mod operations;
mod story;
mod timeline;
mod worker;

pub(crate) use story::run;
