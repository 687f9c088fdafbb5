//! Reads arguments: pools, names, addresses and ids, and says of a wrong one what it must look like.

use std::str::FromStr;

use rules::id::{MachineId, ScheduleId, SweepId, TenantId};
use rules::machine::{HostUri, Name};
use rules::queue::State;
use rules::schedule::PREVIEW_MAX;

use crate::command::ServedPool;

/// An id such as people and most things have, to show what one looks like.
const SUCH_AS: &str = "0190a2b4-7c1d-7e3f-8a5b-6c7d8e9f0a1b";

pub(crate) fn pool(text: &str) -> Result<ServedPool, String> {
    if text == "vm" {
        return Ok(ServedPool::Vm);
    }
    text.parse().map(ServedPool::Fixed).map_err(|e: rules::queue::UnknownPool| e.to_string())
}

pub(crate) fn name(text: &str) -> Result<Name, String> {
    text.parse().map_err(|e: rules::machine::BadName| e.to_string())
}

pub(crate) fn uri(text: &str) -> Result<HostUri, String> {
    text.parse().map_err(|e: rules::machine::BadUri| e.to_string())
}

pub(crate) fn state(text: &str) -> Result<State, String> {
    State::from_name(text).ok_or_else(|| {
        let names: Vec<String> = State::ALL.iter().map(|s| s.as_str().to_lowercase()).collect();
        format!("there are {}", names.join(", "))
    })
}

/// The id of a job, a dead letter's being that of its job.
pub(crate) fn job(text: &str) -> Result<i64, String> {
    let id = text.parse().ok().filter(|id| *id > 0);
    id.ok_or_else(|| {
        "a job's id is a whole number from 1, such as 4711; `millrace job list` and `millrace dlq list` show ids"
            .into()
    })
}

pub(crate) fn machine(text: &str) -> Result<MachineId, String> {
    id(text, "a machine", "`millrace machine list` shows ids")
}

pub(crate) fn tenant(text: &str) -> Result<TenantId, String> {
    id(text, "a tenant", "the API's `tenants` lists ids, and `millrace job show` tells whose a job is")
}

pub(crate) fn schedule(text: &str) -> Result<ScheduleId, String> {
    id(text, "a schedule", "`millrace schedule list` shows ids")
}

pub(crate) fn sweep(text: &str) -> Result<SweepId, String> {
    id(text, "a sweep of dead letters", "`millrace dlq sweeps` shows ids")
}

/// How many times a preview tells.
pub(crate) fn previewed(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| (1..=PREVIEW_MAX).contains(count));
    count.ok_or_else(|| format!("it is a whole number from 1 to {PREVIEW_MAX}"))
}

fn id<T: FromStr>(text: &str, whose: &str, where_from: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("the id of {whose} looks like {SUCH_AS}; {where_from}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_id_is_told_what_one_looks_like_and_where_to_get_one() {
        assert_eq!(job("12"), Ok(12));
        for wrong in ["abc", "0", "-1", "", "99999999999999999999"] {
            let told = job(wrong).unwrap_err();
            assert!(told.contains("such as 4711") && told.contains("`millrace job list`"), "{told}");
        }
        assert!(machine(SUCH_AS).is_ok() && tenant(SUCH_AS).is_ok());
        let told = machine("abc").unwrap_err();
        assert!(told.contains(SUCH_AS) && told.contains("`millrace machine list`"), "{told}");
        assert!(tenant("acme").unwrap_err().contains("`tenants`"));
    }
}
