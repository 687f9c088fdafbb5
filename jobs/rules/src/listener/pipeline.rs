//! What a listener does with an event: a transform, then actions; read from its configuration with
//! every fault named.
//!
//! ```json
//! { "actions": [
//!     { "type": "transform", "code": "#{ order: event.id }" },
//!     { "type": "trigger_workflow", "workflowId": "…", "inputValues": { "order": "{{event.order}}" } },
//!     { "type": "save_to_buffer", "bufferName": "orders",
//!       "retentionPolicy": "both", "maxEvents": 500, "maxAgeHours": 24 } ] }
//! ```

use serde_json::{Value, json};
use uuid::Uuid;

use super::read::{Fault, Reader};
use super::retention::{BufferName, Retention};
use crate::dag::Template;
use crate::dag::limits::MAX_INPUT_BYTES;
use crate::id::{ActionId, WorkflowId};

/// The most actions of a listener, its transform apart.
pub const ACTIONS_MAX: usize = 20;
/// What the templates of an action may begin with.
pub const TEMPLATE_ROOTS: [&str; 1] = [EVENT_ROOT];
/// The name of the event in templates.
const EVENT_ROOT: &str = "event";

/// What a listener does with an event.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Pipeline {
    /// A script that makes of `event` what the actions see; `null` drops the event.
    pub transform: Option<String>,
    /// What is done with it, each by a job of its own.
    pub actions: Vec<Action>,
}

/// A part of a configuration that only others can judge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outside<'a> {
    /// A script, which must compile.
    Script(&'a str),
    /// A workflow, which the tenant must have.
    Workflow(WorkflowId),
}

/// One thing that is done with an event.
#[derive(Debug, Clone, PartialEq)]
pub struct Action {
    /// Stays the same while the pipeline is edited, so that what waits finds its action again.
    pub id: ActionId,
    /// Whether it is done at all.
    pub enabled: bool,
    /// What is done.
    pub act: Act,
}

/// What an action does.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    /// Starts a run.
    TriggerWorkflow {
        /// Of this workflow, in the listener's tenant.
        workflow: WorkflowId,
        /// With this input, a template over `event`.
        input: Value,
    },
    /// Keeps the event for whoever reads the buffer.
    SaveToBuffer {
        /// In this buffer of the listener.
        buffer: BufferName,
        /// For so long.
        retention: Retention,
    },
}

impl Pipeline {
    /// Reads a configuration. An action without an `id` keeps the one that stood at its place in
    /// `before` when it does the same kind of thing, else it gets a fresh one. Scripts are not
    /// compiled and workflows not looked up here.
    ///
    /// # Errors
    /// All faults at once.
    pub fn parse(
        config: &Value,
        before: Option<&Self>,
        mut fresh: impl FnMut() -> Uuid,
    ) -> Result<Self, Vec<Fault>> {
        let mut reader = Reader::default();
        let mut pipeline = Self::default();
        let mut ids = Vec::new();
        for (place, item) in reader.items(config) {
            let field = format!("actions[{place}]");
            let Some(fields) = reader.object(&field, item) else { continue };
            let kind = reader.text(&field, fields, "type").unwrap_or_default();
            if kind == "transform" {
                reader.transform(&field, fields, place, &mut pipeline);
                continue;
            }
            let enabled = reader.flag(&field, fields, "enabled");
            let given = reader.id(&field, fields, "id").map(ActionId);
            let Some(act) = reader.act(&field, fields, &kind) else { continue };
            let kept = before.and_then(|before| before.actions.get(pipeline.actions.len()));
            let kept = kept.filter(|old| old.act.kind() == act.kind()).map(|old| old.id);
            let id = given.or(kept.filter(|id| !ids.contains(id))).unwrap_or_else(|| ActionId(fresh()));
            if ids.contains(&id) {
                reader.fault(format!("{field}.id"), "stands twice; give each action its own, or none".into());
            }
            ids.push(id);
            pipeline.actions.push(Action { id, enabled, act });
        }
        if pipeline.actions.len() > ACTIONS_MAX {
            let many = format!("there are {}; at most {ACTIONS_MAX} are allowed", pipeline.actions.len());
            reader.fault("actions".into(), many);
        }
        if reader.faults.is_empty() { Ok(pipeline) } else { Err(reader.faults) }
    }

    /// What of a configuration only others can judge, wherever it stands and whatever else is wrong: scripts
    /// and workflows, each with its field.
    pub fn outside(config: &Value) -> Vec<(String, Outside<'_>)> {
        let steps = config.get("actions").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let text = |step: &'_ Value, name: &str| Some(step.get(name)?.as_str()?.to_owned());
        let judged = steps.iter().enumerate().filter_map(|(place, step)| {
            let field = |name: &str| format!("actions[{place}].{name}");
            match text(step, "type")?.as_str() {
                "transform" => {
                    let code = step.get("code")?.as_str().filter(|code| !code.trim().is_empty())?;
                    Some((field("code"), Outside::Script(code)))
                }
                "trigger_workflow" => {
                    let id = text(step, "workflowId")?.parse().ok()?;
                    Some((field("workflowId"), Outside::Workflow(WorkflowId(id))))
                }
                _ => None,
            }
        });
        judged.collect()
    }

    /// The configuration that [`Self::parse`] reads back to the same.
    pub fn to_json(&self) -> Value {
        let transform = self.transform.iter().map(|code| json!({ "type": "transform", "code": code }));
        let actions = self.actions.iter().map(|action| {
            let mut fields = match &action.act {
                Act::TriggerWorkflow { workflow, input } => {
                    json!({ "workflowId": workflow, "inputValues": input })
                }
                Act::SaveToBuffer { buffer, retention } => {
                    let mut fields =
                        json!({ "bufferName": buffer.as_str(), "retentionPolicy": retention.as_str() });
                    if let Retention::Count { max_events } | Retention::Both { max_events, .. } = retention {
                        fields["maxEvents"] = (*max_events).into();
                    }
                    if let Retention::Time { max_age_hours } | Retention::Both { max_age_hours, .. } =
                        retention
                    {
                        fields["maxAgeHours"] = (*max_age_hours).into();
                    }
                    fields
                }
            };
            fields["id"] = json!(action.id);
            fields["type"] = action.act.kind().into();
            fields["enabled"] = action.enabled.into();
            fields
        });
        json!({ "actions": transform.chain(actions).collect::<Vec<_>>() })
    }

    /// The input of a run for an event.
    ///
    /// # Errors
    /// The fault of a template, which [`Self::parse`] lets none of through; or that it leads to nothing, or
    /// to more than a run's input holds.
    pub fn fill(input: &Value, event: &Value) -> Result<Value, String> {
        let roots = |root: &str| (root == EVENT_ROOT).then_some(event);
        let template = Template::read(input, &TEMPLATE_ROOTS).map_err(|why| why.to_string())?;
        template.fill(&roots, MAX_INPUT_BYTES).map_err(|why| why.to_string())
    }

    /// The action of this id.
    pub fn action(&self, id: ActionId) -> Option<&Action> {
        self.actions.iter().find(|action| action.id == id)
    }
}

impl Act {
    /// The word for it in a configuration.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::TriggerWorkflow { .. } => "trigger_workflow",
            Self::SaveToBuffer { .. } => "save_to_buffer",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKFLOW: &str = "0196f0d2-0000-7000-8000-000000000001";

    fn read(config: &Value, before: Option<&Pipeline>) -> Result<Pipeline, Vec<Fault>> {
        let mut next = 0;
        Pipeline::parse(config, before, || {
            next += 1;
            Uuid::from_u128(next)
        })
    }

    fn whole() -> Value {
        json!({ "actions": [
            { "type": "transform", "code": "event" },
            { "type": "trigger_workflow", "workflowId": WORKFLOW },
            { "type": "save_to_buffer", "bufferName": "orders", "retentionPolicy": "both", "maxEvents": 5, "maxAgeHours": 24 },
            { "type": "save_to_buffer", "enabled": false },
            { "type": "save_to_buffer", "maxEvents": 7 },
            { "type": "save_to_buffer", "retentionPolicy": "time", "maxAgeHours": 1 },
        ]})
    }

    #[test]
    fn a_configuration_reads_back_to_the_same() {
        let pipeline = read(&whole(), None).unwrap();
        assert_eq!(pipeline.transform.as_deref(), Some("event"));
        assert_eq!(pipeline.actions.len(), 5);
        assert!(!pipeline.actions[2].enabled);
        assert_eq!(read(&pipeline.to_json(), None), Ok(pipeline.clone()));
        let Act::TriggerWorkflow { input, .. } = &pipeline.actions[0].act else { panic!() };
        assert_eq!(input, &json!({ "event": "{{event}}" }));
    }

    #[test]
    fn actions_keep_their_ids_through_an_edit() {
        let first = read(&whole(), None).unwrap();
        let second = Pipeline::parse(&whole(), Some(&first), || panic!("none is new")).unwrap();
        assert_eq!(first, second);
        let mut other = whole();
        other["actions"][1] = json!({ "type": "save_to_buffer" });
        let third = Pipeline::parse(&other, Some(&first), || Uuid::from_u128(99)).unwrap();
        assert_eq!(
            third.actions[0].id,
            ActionId(Uuid::from_u128(99)),
            "another kind of thing is another action"
        );
        assert_eq!(third.actions[1].id, first.actions[1].id);
    }

    #[test]
    fn all_faults_come_at_once() {
        let config = json!({ "actions": [
            { "type": "save_to_buffer", "bufferName": "a b", "retentionPolicy": "both", "maxEvents": 0 },
            { "type": "transform", "code": " ", "language": "js" },
            { "type": "trigger_workflow", "inputValues": [], "enabled": 1 },
            { "type": "trigger_workflow", "workflowId": "x", "id": 7 },
            { "type": "trigger_workflow", "workflowId": WORKFLOW, "inputValues": { "a": ["{{ctx.b}}"] } },
            { "type": "push" },
            { "id": null },
            7,
            { "type": "save_to_buffer", "maxAgeHours": 1 },
            { "type": "save_to_buffer", "id": WORKFLOW },
            { "type": "save_to_buffer", "id": WORKFLOW },
        ], "extra": 1 });
        let faults = read(&config, None).unwrap_err();
        let told: Vec<String> = faults.iter().map(|f| format!("{}: {}", f.field, f.message)).collect();
        insta::assert_snapshot!(told.join("\n"), @r"
        pipeline.extra: is unknown; known are actions
        actions[0].bufferName: a buffer's name has 1 to 64 letters, digits, hyphens and underscores
        actions[0].maxEvents: must be a whole number between 1 and 100000
        actions[0].maxAgeHours: must be a whole number between 1 and 8784
        actions[1].language: is unknown; known are type, code
        actions[1]: a transform stands first, and there is at most one
        actions[1].code: must be a text that is not empty
        actions[2].enabled: must be true or false
        actions[2].inputValues: must be an object
        actions[2].workflowId: must be a UUID
        actions[3].id: must be a UUID
        actions[3].workflowId: must be a UUID
        actions[4].inputValues: `{{ctx.b}}` begins with none of `event`
        actions[5].type: is unknown; known are transform, trigger_workflow, save_to_buffer
        actions[6].type: must be a text that is not empty
        actions[7]: must be an object
        actions[8].retentionPolicy: is missing; `maxAgeHours` needs time or both
        actions[10].id: stands twice; give each action its own, or none
        ");
    }

    #[test]
    fn inputs_are_filled_from_the_event() {
        let event = json!({ "id": 7, "who": { "name": "x" } });
        let input = json!({ "order": "{{event.id}}", "text": "for {{event.who.name}}", "all": "{{event}}" });
        let filled = json!({ "order": 7, "text": "for x", "all": event });
        assert_eq!(Pipeline::fill(&input, &event), Ok(filled));
        let told = Pipeline::fill(&json!({ "order": "{{event.idd}}" }), &event).unwrap_err();
        assert!(
            told.contains("`{{event.idd}}` leads to nothing") && told.contains("`id` is the nearest"),
            "{told}"
        );
        assert_eq!(
            Pipeline::fill(&json!({ "order": "{{event.no ?? 1}}" }), &event),
            Ok(json!({ "order": 1 }))
        );
    }

    #[test]
    fn what_is_no_pipeline_is_refused() {
        for bad in [json!(null), json!([]), json!({}), json!({ "actions": {} })] {
            assert!(read(&bad, None).is_err(), "{bad}");
        }
        assert_eq!(read(&json!({ "actions": [] }), None), Ok(Pipeline::default()));
        let many = vec![json!({ "type": "save_to_buffer" }); ACTIONS_MAX + 1];
        assert_eq!(read(&json!({ "actions": many }), None).unwrap_err()[0].field, "actions");
    }
}
