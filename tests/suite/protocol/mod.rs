//! The queue's protocol, explored: every order in which workers, operators, crashes and lost answers can meet.
//!
//! `suite/model.rs` leads random lives of many jobs against the real queue, one thing at a time. Here few jobs go
//! through *all* that can happen to them: a state is what the queue's tables and its workers' memories hold, and a
//! breadth-first search visits every one that can be reached. What must always hold is asked of each (`law.rs`). The
//! same search over a queue with a deliberate flaw (`flaw.rs`) must find the law that the flaw breaks, or the laws would
//! be no proof of anything; and `replay.rs` walks at random through the same steps on a real Postgres and compares
//! after each, so that what is explored is what the SQL does.
//!
//! The search is ours because `stateright` cannot be had without its web server (`tiny_http` is no optional dependency
//! of it) and a second `rand`. What is needed of it here is a queue, a map and a walk backwards.

mod explore;
mod flaw;
mod law;
mod line;
mod replay;
mod rows;
mod scope;
mod state;
mod step;
mod tables;
