//! Reads the fields of a draft one by one, and gathers what is wrong instead of stopping at the first.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::fault::{Fault, Reason};
use super::limits::MAX_ID_BYTES;
use super::template::Template;

/// Whose fields are read.
#[derive(Debug, Clone)]
pub(super) enum Owner {
    Workflow,
    Node(String),
    Edge(String),
}

/// The fields of one object of a draft.
pub(super) struct Fields<'a, 'f> {
    map: &'a Map<String, Value>,
    prefix: String,
    owner: Owner,
    asked: BTreeSet<&'static str>,
    forgiving: bool,
    faults: &'f mut Vec<Fault>,
}

impl<'a, 'f> Fields<'a, 'f> {
    /// The fields of an object; without one, a fault.
    pub(super) fn of(
        value: &'a Value,
        owner: Owner,
        prefix: &str,
        faults: &'f mut Vec<Fault>,
    ) -> Option<Self> {
        match value.as_object() {
            Some(map) => Some(Self {
                map,
                prefix: prefix.into(),
                owner,
                asked: BTreeSet::new(),
                forgiving: false,
                faults,
            }),
            None => {
                faults.push(owner.fault(prefix, Reason::Malformed, "must be an object"));
                None
            }
        }
    }

    /// The object in a field; an empty one when it is not there.
    pub(super) fn inside(&mut self, name: &'static str) -> Option<Fields<'a, '_>> {
        static EMPTY: std::sync::LazyLock<Value> = std::sync::LazyLock::new(|| Value::Object(Map::new()));
        let value = self.get(name).unwrap_or(&EMPTY);
        Fields::of(value, self.owner.clone(), &self.field(name), self.faults)
    }

    /// The object at a place of a list.
    pub(super) fn item(&mut self, list: &str, place: usize, value: &'a Value) -> Option<Fields<'a, '_>> {
        let prefix = format!("{}[{place}]", self.field(list));
        Fields::of(value, self.owner.clone(), &prefix, self.faults)
    }

    /// A field as it stands; null counts as absent.
    pub(super) fn get(&mut self, name: &'static str) -> Option<&'a Value> {
        self.asked.insert(name);
        self.map.get(name).filter(|v| !v.is_null())
    }

    /// A text that must be there.
    pub(super) fn text(&mut self, name: &'static str) -> Option<&'a str> {
        let value = self.required(name)?;
        let text = value.as_str();
        if text.is_none() {
            self.fault(name, Reason::Malformed, "must be a text");
        }
        text
    }

    /// A text that may be missing.
    pub(super) fn optional_text(&mut self, name: &'static str) -> Option<&'a str> {
        self.get(name)?;
        self.text(name)
    }

    /// A value that must be there.
    pub(super) fn required(&mut self, name: &'static str) -> Option<&'a Value> {
        let value = self.get(name);
        if value.is_none() {
            self.fault(name, Reason::Missing, "must be there");
        }
        value
    }

    /// An id that must be there.
    pub(super) fn id(&mut self, name: &'static str) -> Option<&'a str> {
        let id = self.text(name)?;
        if is_id(id) {
            return Some(id);
        }
        self.fault(
            name,
            Reason::Malformed,
            format!("must have 1 to {MAX_ID_BYTES} characters of letters, digits, `_`, `-`, `.` and `:`"),
        );
        None
    }

    /// A whole number in a range.
    pub(super) fn whole(&mut self, name: &'static str, range: RangeInclusive<u64>, default: u64) -> u64 {
        let Some(value) = self.get(name) else { return default };
        match value.as_u64().filter(|n| range.contains(n)) {
            Some(number) => number,
            None => {
                let (low, high) = (range.start(), range.end());
                self.fault(name, Reason::Malformed, format!("must be a whole number from {low} to {high}"));
                default
            }
        }
    }

    /// One of several words.
    pub(super) fn choice<T: Copy>(&mut self, name: &'static str, words: &[(&str, T)], default: T) -> T {
        if self.get(name).is_none() {
            return default;
        }
        self.word(name, words).unwrap_or(default)
    }

    /// One of several words, which must be there.
    pub(super) fn word<T: Copy>(&mut self, name: &'static str, words: &[(&str, T)]) -> Option<T> {
        let given = self.text(name)?;
        let found = words.iter().find(|(word, _)| *word == given).map(|(_, meaning)| *meaning);
        if found.is_none() {
            let known = words.iter().map(|(w, _)| format!("`{w}`")).collect::<Vec<_>>().join(", ");
            self.fault(name, Reason::Unknown, format!("`{given}` is none of {known}"));
        }
        found
    }

    /// A list of at most `max`; empty when it is missing.
    pub(super) fn list(&mut self, name: &'static str, max: usize) -> &'a [Value] {
        let Some(value) = self.get(name) else { return &[] };
        match value.as_array() {
            Some(items) if items.len() <= max => items,
            Some(items) => {
                self.fault(name, Reason::TooLarge, format!("has {} entries; at most {max} fit", items.len()));
                &[]
            }
            None => {
                self.fault(name, Reason::Malformed, "must be a list");
                &[]
            }
        }
    }

    /// A template that may be missing, over the root `ctx`.
    pub(super) fn template(&mut self, name: &'static str) -> Option<Template> {
        let value = self.get(name)?;
        match Template::read(value, &["ctx"]) {
            Ok(template) => Some(template),
            Err(unreadable) => {
                self.fault(name, Reason::Template, unreadable.to_string());
                None
            }
        }
    }

    /// Notes a fault of a field.
    pub(super) fn fault(&mut self, name: &str, reason: Reason, message: impl Into<String>) {
        let fault = self.owner.fault(&self.field(name), reason, message);
        self.faults.push(fault);
    }

    /// Takes whatever else stands there: which fields may stand there is not known.
    pub(super) fn forgive_the_rest(&mut self) {
        self.forgiving = true;
    }

    /// Ends the reading: what was given and never asked for is a fault, a misspelt one most likely.
    pub(super) fn end(self) {
        if self.forgiving {
            return;
        }
        for name in self.map.keys().filter(|name| !self.asked.contains(name.as_str())) {
            let known = self.asked.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
            let message = format!("is no field here; there are {known}");
            self.faults.push(self.owner.fault(&self.field(name), Reason::Unknown, message));
        }
    }

    fn field(&self, name: &str) -> String {
        if self.prefix.is_empty() { name.into() } else { format!("{}.{name}", self.prefix) }
    }
}

impl Owner {
    fn fault(&self, field: &str, reason: Reason, message: impl Into<String>) -> Fault {
        match self {
            Self::Workflow => Fault::whole(field, reason, message),
            Self::Node(id) => Fault::node(id, field, reason, message),
            Self::Edge(id) => Fault::edge(id, field, reason, message),
        }
    }
}

/// Whether a text can be an id: short, and safe in logs, keys and addresses.
fn is_id(text: &str) -> bool {
    (1..=MAX_ID_BYTES).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b':'))
}
