//! Paths: where a block of a template leads, and what to say when that is nowhere.

use serde_json::{Map, Value};

use super::limits::cut;
use crate::nearest::{MAX_TOLD_NAMES, nearest};

/// The longest piece of a path or of a name that a message repeats, in bytes: names of members are the
/// sender's.
const MAX_TOLD_BYTES: usize = 60;

/// Where a block leads: a root, then members and places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// The name that the path begins with.
    pub root: String,
    /// The way from there.
    pub steps: Vec<Step>,
}

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Into an object: `.name` or `["name"]`.
    Member(String),
    /// Into a list: `[0]`.
    Place(usize),
}

impl Path {
    /// Reads `root.name[0]["name"]` at the beginning of a text, and gives what follows it.
    pub(super) fn read(text: &str) -> Option<(Self, &str)> {
        let (root, mut rest) = name(text)?;
        let mut steps = Vec::new();
        loop {
            if let Some(after) = rest.strip_prefix('.') {
                let (member, after) = name(after)?;
                steps.push(Step::Member(member.into()));
                rest = after;
            } else if let Some(after) = rest.strip_prefix('[') {
                let (inside, after) = bracket(after)?;
                steps.push(inside);
                rest = after;
            } else {
                return Some((Self { root: root.into(), steps }, rest));
            }
        }
    }

    /// What it leads to, if anything.
    pub(super) fn follow<'a>(&self, root: &impl Fn(&str) -> Option<&'a Value>) -> Option<&'a Value> {
        self.steps.iter().try_fold(root(&self.root)?, |value, step| step.into(value))
    }

    /// Why it leads to nothing: the first step that cannot be taken, and what there is in its stead.
    pub(super) fn astray<'a>(&self, root: &impl Fn(&str) -> Option<&'a Value>) -> String {
        let mut at = self.root.clone();
        let Some(mut value) = root(&self.root) else { return format!("there is no `{}`", brief(&at)) };
        for step in &self.steps {
            let Some(next) = step.into(value) else { return step.missing(&brief(&at), value) };
            step.write(&mut at);
            value = next;
        }
        format!("`{}` is nothing", brief(&at))
    }

    /// The path as it is written.
    pub(super) fn text(&self) -> String {
        let mut text = self.root.clone();
        self.steps.iter().for_each(|step| step.write(&mut text));
        brief(&text)
    }
}

impl Step {
    fn into<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        match self {
            Self::Member(name) => value.as_object()?.get(name),
            Self::Place(place) => value.as_array()?.get(*place),
        }
    }

    fn write(&self, path: &mut String) {
        match self {
            Self::Member(member) if name(member).is_some_and(|(_, rest)| rest.is_empty()) => {
                path.push('.');
                path.push_str(member);
            }
            Self::Member(member) => {
                path.push_str("[\"");
                path.push_str(member);
                path.push_str("\"]");
            }
            Self::Place(place) => {
                path.push('[');
                path.push_str(&place.to_string());
                path.push(']');
            }
        }
    }

    /// Why the step cannot be taken from `value`, which stands at `at`.
    fn missing(&self, at: &str, value: &Value) -> String {
        match (self, value) {
            (Self::Member(name), Value::Object(members)) => {
                format!("`{at}` has no `{}`; {}", brief(name), instead(name, members))
            }
            (Self::Place(place), Value::Array(items)) => {
                let many = items.len();
                format!("`{at}` has no place {place}; it has {many}, counted from 0")
            }
            (Self::Member(name), Value::Array(_)) => {
                format!("`{at}` is a list, which has places such as [0] and no `{}`", brief(name))
            }
            (Self::Place(place), Value::Object(_)) => {
                format!("`{at}` is an object, which has names and no place {place}")
            }
            (_, Value::Null) => format!("`{at}` is null, which holds nothing"),
            (_, Value::Bool(_)) => format!("`{at}` is true or false, which holds nothing"),
            (_, Value::Number(_)) => format!("`{at}` is a number, which holds nothing"),
            (_, Value::String(_)) => format!("`{at}` is a text, which holds nothing"),
        }
    }
}

/// The name that was probably meant, else some that there are.
fn instead(wanted: &str, members: &Map<String, Value>) -> String {
    if let Some(name) = nearest(wanted, members.keys().map(String::as_str)) {
        return format!("`{}` is the nearest name that it has", brief(name));
    }
    let names: Vec<_> =
        members.keys().take(MAX_TOLD_NAMES).map(|name| format!("`{}`", brief(name))).collect();
    match members.len() {
        0 => "it is empty".into(),
        many if many > MAX_TOLD_NAMES => {
            format!("it has {} and {} more", names.join(", "), many - names.len())
        }
        _ => format!("it has {}", names.join(", ")),
    }
}

fn brief(text: &str) -> String {
    cut(text.into(), MAX_TOLD_BYTES)
}

/// A name at the beginning, and what follows it.
fn name(text: &str) -> Option<(&str, &str)> {
    let end = text
        .char_indices()
        .find(|(at, c)| {
            !(c.is_ascii_alphabetic() || *c == '_' || (*at > 0 && (c.is_ascii_digit() || *c == '-')))
        })
        .map_or(text.len(), |(at, _)| at);
    (end > 0).then(|| text.split_at(end))
}

/// What stands between brackets, and what follows them; the opening one is gone already.
fn bracket(text: &str) -> Option<(Step, &str)> {
    for quote in ['"', '\''] {
        if let Some(quoted) = text.strip_prefix(quote) {
            let (member, after) = quoted.split_once(quote)?;
            return Some((Step::Member(member.into()), after.strip_prefix(']')?));
        }
    }
    let (digits, after) = text.split_once(']')?;
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some((Step::Place(digits.parse().ok()?), after))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_path_that_leads_nowhere_says_where_it_ends() {
        let ctx = json!({"input": {
            "customer": {"id": 1}, "list": [1, 2], "text": "x", "none": null, "yes": true, "n": 1, "empty": {},
            "a b": {"c": 1}, "wide": {"a1": 1, "b2": 1, "c3": 1, "d4": 1, "e5": 1, "f6": 1}}});
        let astray = |text: &str| {
            let (path, rest) = Path::read(text).unwrap();
            assert_eq!(rest, "");
            let root = |name: &str| (name == "ctx").then_some(&ctx);
            assert_eq!(path.follow(&root), None, "{text}");
            path.astray(&root)
        };
        let cases = [
            ("event.a", "there is no `event`"),
            (
                "ctx.input.custmoer.id",
                "`ctx.input` has no `custmoer`; `customer` is the nearest name that it has",
            ),
            (
                "ctx.input.Customer.id",
                "`ctx.input` has no `Customer`; `customer` is the nearest name that it has",
            ),
            ("ctx.input.customer.name", "`ctx.input.customer` has no `name`; it has `id`"),
            ("ctx.input['a b'].d1", "`ctx.input[\"a b\"]` has no `d1`; it has `c`"),
            (
                "ctx.input.wide.other",
                "`ctx.input.wide` has no `other`; it has `a1`, `b2`, `c3`, `d4`, `e5` and 1 more",
            ),
            ("ctx.input.empty.a", "`ctx.input.empty` has no `a`; it is empty"),
            ("ctx.input.list[2]", "`ctx.input.list` has no place 2; it has 2, counted from 0"),
            (
                "ctx.input.list.first",
                "`ctx.input.list` is a list, which has places such as [0] and no `first`",
            ),
            ("ctx.input.customer[0]", "`ctx.input.customer` is an object, which has names and no place 0"),
            ("ctx.input.none.a", "`ctx.input.none` is null, which holds nothing"),
            ("ctx.input.yes.a", "`ctx.input.yes` is true or false, which holds nothing"),
            ("ctx.input.n[0]", "`ctx.input.n` is a number, which holds nothing"),
            ("ctx.input.text.a", "`ctx.input.text` is a text, which holds nothing"),
        ];
        for (path, told) in cases {
            assert_eq!(astray(path), told, "{path}");
        }
    }

    #[test]
    fn what_is_told_of_a_path_is_bounded() {
        let root = json!({"x".repeat(200): 1});
        let (path, _) = Path::read(&format!("ctx.{}", "y".repeat(200))).unwrap();
        let told = path.astray(&|_| Some(&root));
        assert!(told.len() < 300 && told.contains('…'), "{told}");
        assert!(path.text().len() < 100);
    }
}
