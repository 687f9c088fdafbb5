//! Why a request is refused: the faults, their codes, and the only place where one becomes an answer.
//!
//! Every error that a client is told is recorded once ([`record`]), under the id that the client reads.

mod code;
mod dress;
mod fault;
mod problem;
mod record;

pub(crate) use dress::{code_of, dress};
pub(crate) use fault::{Fault, InputFault, Told};
pub(crate) use problem::{fault_problem, finding, panic_problem, problem};
