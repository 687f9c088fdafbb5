//! Many who listen to what happens: what they cost the process, and how soon all of them have heard.

mod crowd;
mod measure;
mod stage;

pub(crate) use measure::measure;
