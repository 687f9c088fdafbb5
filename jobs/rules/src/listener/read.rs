//! Reads the parts of a pipeline's configuration, and gathers what is wrong with them.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::pipeline::{Act, Pipeline, TEMPLATE_ROOTS};
use super::retention::{BUFFER_EVENTS_MAX, BUFFER_HOURS_MAX, BufferName, Retention};
use crate::dag::Template;
use crate::id::WorkflowId;

/// One thing that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where, such as `actions[1].workflowId`.
    pub field: String,
    /// What is wrong, and the remedy.
    pub message: String,
}

/// Reads a configuration and gathers what is wrong with it.
#[derive(Default)]
pub(super) struct Reader {
    pub(super) faults: Vec<Fault>,
}

impl Reader {
    pub(super) fn fault(&mut self, field: String, message: String) {
        self.faults.push(Fault { field, message });
    }

    pub(super) fn items<'a>(&mut self, config: &'a Value) -> Vec<(usize, &'a Value)> {
        let Some(fields) = self.object("pipeline", config) else { return Vec::new() };
        self.known("pipeline", fields, &["actions"]);
        match fields.get("actions") {
            Some(Value::Array(items)) => items.iter().enumerate().collect(),
            _ => {
                self.fault("actions".into(), "must be an array".into());
                Vec::new()
            }
        }
    }

    pub(super) fn object<'a>(&mut self, field: &str, value: &'a Value) -> Option<&'a Map<String, Value>> {
        if value.as_object().is_none() {
            self.fault(field.into(), "must be an object".into());
        }
        value.as_object()
    }

    fn known(&mut self, field: &str, fields: &Map<String, Value>, known: &[&str]) {
        for name in fields.keys().filter(|name| !known.contains(&name.as_str())) {
            let message = format!("is unknown; known are {}", known.join(", "));
            self.fault(format!("{field}.{name}"), message);
        }
    }

    pub(super) fn text(&mut self, field: &str, fields: &Map<String, Value>, name: &str) -> Option<String> {
        let text = fields.get(name).and_then(Value::as_str).filter(|text| !text.trim().is_empty());
        if text.is_none() {
            self.fault(format!("{field}.{name}"), "must be a text that is not empty".into());
        }
        text.map(ToOwned::to_owned)
    }

    pub(super) fn flag(&mut self, field: &str, fields: &Map<String, Value>, name: &str) -> bool {
        match fields.get(name) {
            None => true,
            Some(Value::Bool(yes)) => *yes,
            Some(_) => {
                self.fault(format!("{field}.{name}"), "must be true or false".into());
                false
            }
        }
    }

    pub(super) fn id(&mut self, field: &str, fields: &Map<String, Value>, name: &str) -> Option<Uuid> {
        let value = fields.get(name).filter(|value| !value.is_null())?;
        let id = value.as_str().and_then(|text| text.parse().ok());
        if id.is_none() {
            self.fault(format!("{field}.{name}"), "must be a UUID".into());
        }
        id
    }

    fn number(&mut self, field: &str, fields: &Map<String, Value>, name: &str, max: u32) -> Option<u32> {
        let number = fields.get(name).and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok());
        let number = number.filter(|n| (1..=max).contains(n));
        if number.is_none() {
            self.fault(format!("{field}.{name}"), format!("must be a whole number between 1 and {max}"));
        }
        number
    }

    pub(super) fn transform(
        &mut self,
        field: &str,
        fields: &Map<String, Value>,
        place: usize,
        pipeline: &mut Pipeline,
    ) {
        self.known(field, fields, &["type", "code"]);
        if place > 0 {
            self.fault(field.into(), "a transform stands first, and there is at most one".into());
        }
        if let Some(code) = self.text(field, fields, "code") {
            pipeline.transform = Some(code);
        }
    }

    pub(super) fn act(&mut self, field: &str, fields: &Map<String, Value>, kind: &str) -> Option<Act> {
        match kind {
            "trigger_workflow" => {
                self.known(field, fields, &["id", "type", "enabled", "workflowId", "inputValues"]);
                let input = fields.get("inputValues").cloned();
                let input = input.unwrap_or_else(|| json!({ "event": "{{event}}" }));
                if !input.is_object() {
                    self.fault(format!("{field}.inputValues"), "must be an object".into());
                }
                if let Err(unreadable) = Template::read(&input, &TEMPLATE_ROOTS) {
                    self.fault(format!("{field}.inputValues"), unreadable.to_string());
                }
                if !fields.contains_key("workflowId") {
                    self.fault(format!("{field}.workflowId"), "must be a UUID".into());
                }
                let workflow = self.id(field, fields, "workflowId").map(WorkflowId)?;
                Some(Act::TriggerWorkflow { workflow, input })
            }
            "save_to_buffer" => self.buffer(field, fields),
            // An absent type was told already.
            "" => None,
            _ => {
                let known = "is unknown; known are transform, trigger_workflow, save_to_buffer";
                self.fault(format!("{field}.type"), known.into());
                None
            }
        }
    }

    fn buffer(&mut self, field: &str, fields: &Map<String, Value>) -> Option<Act> {
        let known = ["id", "type", "enabled", "bufferName", "retentionPolicy", "maxEvents", "maxAgeHours"];
        self.known(field, fields, &known);
        let name =
            fields.get("bufferName").map(|_| self.text(field, fields, "bufferName").unwrap_or_default());
        let buffer = match name.as_deref().map(str::parse) {
            None => BufferName::default(),
            Some(Ok(buffer)) => buffer,
            Some(Err(message)) => {
                self.fault(format!("{field}.bufferName"), message);
                BufferName::default()
            }
        };
        let policy = fields.get("retentionPolicy").map(|policy| policy.as_str().unwrap_or_default());
        let retention = match policy {
            None if fields.contains_key("maxAgeHours") => {
                self.fault(
                    format!("{field}.retentionPolicy"),
                    "is missing; `maxAgeHours` needs time or both".into(),
                );
                None
            }
            None if !fields.contains_key("maxEvents") => Some(Retention::default()),
            None | Some("count") => {
                let max_events = self.number(field, fields, "maxEvents", BUFFER_EVENTS_MAX);
                max_events.map(|max_events| Retention::Count { max_events })
            }
            Some("time") => {
                let max_age_hours = self.number(field, fields, "maxAgeHours", BUFFER_HOURS_MAX);
                max_age_hours.map(|max_age_hours| Retention::Time { max_age_hours })
            }
            Some("both") => {
                let max_events = self.number(field, fields, "maxEvents", BUFFER_EVENTS_MAX);
                let max_age_hours = self.number(field, fields, "maxAgeHours", BUFFER_HOURS_MAX);
                max_events
                    .zip(max_age_hours)
                    .map(|(max_events, max_age_hours)| Retention::Both { max_events, max_age_hours })
            }
            Some(_) => {
                self.fault(format!("{field}.retentionPolicy"), "must be count, time or both".into());
                None
            }
        };
        retention.map(|retention| Act::SaveToBuffer { buffer, retention })
    }
}
