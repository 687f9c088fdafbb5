//! A run's life, decided purely: a draft becomes a graph, and each change of a run becomes entries of its
//! log and commands to perform.

mod build;
mod change;
mod condition;
mod fault;
mod fields;
mod graph;
mod join;
pub mod limits;
mod order;
mod path;
mod pattern;
mod reach;
mod read;
mod read_order;
mod run;
mod schema;
mod sense;
mod step;
mod task;
pub mod template;
mod unfold;
pub mod wire;

#[cfg(test)]
mod build_tests;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod sense_tests;
#[cfg(test)]
mod step_tests;
#[cfg(test)]
mod wire_tests;

pub use build::{Compilers, Definition, build, rebuild, validate};
pub use change::{Change, Command, Entry, RunEnd};
pub use condition::{Branch, Condition, Decided, Logic, Operator, Test, Undecided};
pub use fault::{Fault, Reason};
pub use graph::{Edge, Graph, Node};
pub use order::{Order, Ordered, SnapshotAct, SnapshotWish, Wish};
pub use run::{Illegal, NodeState, Run, Status};
pub use schema::InputFault;
pub use step::{Stepped, step};
pub use task::{Delay, ERROR, End, Join, OUTPUT, OnFailure, OrderTask, Policy, SUCCESS, Script, Task};
pub use template::Template;
