//! Reads what a stored job is about: each payload knows what it names.

use rules::queue::{About, Job, Kind};
use serde::Deserializer;

use super::health::HealthCheck;
use super::listener::{ListenerAction, ListenerEvent};
use super::machine::{HostReconcile, MachineOperate};
use super::run::{RunAdvance, RunNode, RunWake};

/// What a job of this kind with this payload is about. Nothing where the payload cannot be read, which its
/// handler will say.
pub fn about<'p, P: Deserializer<'p>>(kind: Kind, payload: P) -> About {
    match kind {
        Kind::RunNode => of::<RunNode, P>(payload),
        Kind::RunAdvance => of::<RunAdvance, P>(payload),
        Kind::RunWake => of::<RunWake, P>(payload),
        Kind::ListenerEvent => of::<ListenerEvent, P>(payload),
        Kind::ListenerAction => of::<ListenerAction, P>(payload),
        Kind::MachineOperate => of::<MachineOperate, P>(payload),
        Kind::HostReconcile => of::<HostReconcile, P>(payload),
        Kind::HealthCheck => of::<HealthCheck, P>(payload),
        // They name nothing, or have no payload of this version.
        Kind::Noop | Kind::AuditFlush | Kind::ScheduleFire | Kind::LetterSweep => About::default(),
    }
}

fn of<'p, J: Job, P: Deserializer<'p>>(payload: P) -> About {
    J::deserialize(payload).map(|job| job.about()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use rules::id::RunId;
    use serde_json::json;
    use serde_json::value::RawValue;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_payload_says_what_it_names() {
        let node = RunNode { run_id: RunId(Uuid::from_u128(7)), node_id: "a".into(), attempt: 2 };
        let wanted = About { run: Some(node.run_id), node: Some("a".into()), ..About::default() };
        let stored = serde_json::to_string(&node).unwrap();
        let raw = RawValue::from_string(stored.clone()).unwrap();
        assert_eq!(about(Kind::RunNode, &*raw), wanted);
        let value: serde_json::Value = serde_json::from_str(&stored).unwrap();
        assert_eq!(about(Kind::RunNode, &value), wanted);
        assert_eq!(about(Kind::RunNode, json!({ "run_id": "none" })), About::default());
        assert_eq!(about(Kind::Noop, &value), About::default());
    }
}
