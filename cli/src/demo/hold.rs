//! Finds what keeps the story waiting: a queue that somebody paused, a host that is drained, work that nobody serves.

use std::fmt;

use serde_json::{Value, json};

use super::client::Client;
use super::operations::list;
use crate::hypervisor::{LOCAL, is_built_in};

/// Why jobs of the story would not be taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Hold {
    /// A queue is paused, by somebody, since when.
    Paused(String, String, String),
    /// The host of the story's machines is drained, by somebody, since when.
    Drained(String, String),
    /// No worker serves the queue of that pool.
    Unserved(String, String),
}

impl Hold {
    /// Whether it goes on until somebody ends it; a worker may just be starting.
    pub(super) fn lasts(&self) -> bool {
        match self {
            Self::Paused(..) | Self::Drained(..) => true,
            Self::Unserved(..) => false,
        }
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Paused(queue, by, since) => write!(
                f,
                "queue `{queue}` is paused by {by} since {since}; `millrace queue resume {queue}` lets it go on"
            ),
            Self::Drained(by, since) => write!(
                f,
                "host `{LOCAL}` is being drained by {by} since {since}; `millrace host resume {LOCAL}` lets it go on"
            ),
            Self::Unserved(queue, pool) => write!(
                f,
                "no worker serves queue `{queue}`; `millrace up` does, and so does a worker of the pool `{pool}`"
            ),
        }
    }
}

/// What keeps the story waiting now.
pub(super) async fn up(admin: &Client) -> anyhow::Result<Vec<Hold>> {
    let query =
        "query { queues { name pool pausedAt pausedBy workers } hosts { name drainingAt drainingBy } }";
    let answer = admin.graphql(query, json!({})).await?;
    Ok(found(list(&answer, "/queues")?, list(&answer, "/hosts")?))
}

fn found(queues: &[Value], hosts: &[Value]) -> Vec<Hold> {
    let text = |value: &Value| value.as_str().unwrap_or("somebody").to_owned();
    let drained = hosts.iter().find(|host| host["name"] == LOCAL && !host["drainingAt"].is_null());
    let mut holds = Vec::new();
    if let Some(host) = drained.filter(|_| is_built_in()) {
        holds.push(Hold::Drained(text(&host["drainingBy"]), text(&host["drainingAt"])));
    }
    for queue in queues.iter().filter(|queue| serves_the_story(&text(&queue["name"]))) {
        let name = text(&queue["name"]);
        // A host that is drained pauses its queues.
        if !queue["pausedAt"].is_null() && (holds.is_empty() || !name.contains('@')) {
            holds.push(Hold::Paused(name, text(&queue["pausedBy"]), text(&queue["pausedAt"])));
        } else if queue["workers"] == 0 {
            holds.push(Hold::Unserved(name, text(&queue["pool"])));
        }
    }
    holds
}

/// Whether jobs of the story stand in the queue.
fn serves_the_story(queue: &str) -> bool {
    match queue.split_once('@') {
        Some((_, host)) => host == LOCAL && is_built_in(),
        None => matches!(queue, "workflow" | "listener"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_paused_or_served_by_nobody_is_named() {
        let queue = |name: &str, paused: bool, workers: i64| {
            json!({ "name": name, "pool": "dag", "workers": workers, "pausedBy": paused.then_some("ann"),
                "pausedAt": paused.then_some("2026-01-31T08:00:00Z") })
        };
        let told = |queues: &[Value], hosts: &[Value]| -> Vec<String> {
            found(queues, hosts).iter().map(Hold::to_string).collect()
        };
        assert!(told(&[queue("workflow", false, 1), queue("audit", true, 0)], &[]).is_empty());
        let paused = told(&[queue("workflow", true, 0)], &[]);
        assert!(paused[0].contains("`workflow` is paused by ann since 2026"), "{paused:?}");
        assert!(paused[0].contains("`millrace queue resume workflow`"), "{paused:?}");
        let unserved = told(&[queue("listener", false, 0)], &[]);
        assert!(unserved[0].contains("no worker serves queue `listener`"), "{unserved:?}");
        let host = json!({ "name": LOCAL, "drainingAt": "2026-01-31T08:00:00Z", "drainingBy": "ann" });
        let drained = told(&[queue(&format!("vm@{LOCAL}"), true, 1)], &[host]);
        assert_eq!(drained.len(), usize::from(is_built_in()), "{drained:?}");
    }
}
