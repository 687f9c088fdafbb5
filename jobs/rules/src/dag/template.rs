//! Templates: `{{root.path[0].x}}` inside JSON, paths only, never code.
//!
//! A text that is one block keeps the type of what it leads to; in mixed text each block is joined as
//! text and null as nothing. Arrays and objects are gone through. A path that leads nowhere is null.

use serde_json::{Map, Value};

/// A template, read and ready to be filled in.
#[derive(Debug, Clone, PartialEq)]
pub enum Template {
    /// No block anywhere inside.
    Plain(Value),
    /// A text that is one block.
    Whole(Path),
    /// A text with blocks in it.
    Mixed(Vec<Part>),
    /// A list with blocks somewhere inside.
    List(Vec<Template>),
    /// An object with blocks somewhere inside its values.
    Object(Vec<(String, Template)>),
}

/// A piece of mixed text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Text as it stands.
    Text(String),
    /// A block.
    Path(Path),
}

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

/// Why a template cannot be read or filled in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// A block without its end.
    #[error("`{{{{` has no `}}}}` after it")]
    Open,
    /// A block that is no path.
    #[error("`{{{{{0}}}}}` is no path; write `{{{{root.name[0].name}}}}`")]
    NoPath(String),
    /// A path from a root that does not exist here.
    #[error("`{{{{{0}}}}}` begins with none of {1}")]
    Root(String, String),
    /// What its blocks lead to is more than fits.
    #[error("what the template leads to has more than {0} bytes")]
    TooLarge(usize),
}

impl Template {
    /// Reads a template; its paths begin with one of `roots`.
    ///
    /// # Errors
    /// The first block that cannot be read.
    pub fn read(value: &Value, roots: &[&str]) -> Result<Self, Unreadable> {
        Ok(match value {
            Value::String(text) => read_text(text, roots)?,
            Value::Array(items) => {
                let items: Vec<Self> =
                    items.iter().map(|v| Self::read(v, roots)).collect::<Result<_, _>>()?;
                if items.iter().all(Self::is_plain) { Self::Plain(value.clone()) } else { Self::List(items) }
            }
            Value::Object(members) => {
                let members: Vec<(String, Self)> = members
                    .iter()
                    .map(|(name, v)| Ok((name.clone(), Self::read(v, roots)?)))
                    .collect::<Result<_, _>>()?;
                if members.iter().all(|(_, t)| t.is_plain()) {
                    Self::Plain(value.clone())
                } else {
                    Self::Object(members)
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => Self::Plain(value.clone()),
        })
    }

    /// Fills it in, with at most about `limit` bytes from its blocks: a short text can hold one block a
    /// thousand times. `root` gives the value of a root; one that it does not know is null.
    ///
    /// # Errors
    /// [`Unreadable::TooLarge`].
    pub fn fill<'a>(
        &self,
        root: &impl Fn(&str) -> Option<&'a Value>,
        limit: usize,
    ) -> Result<Value, Unreadable> {
        let mut left = limit;
        self.fill_in(root, &mut left).ok_or(Unreadable::TooLarge(limit))
    }

    /// None when what is left does not suffice.
    pub(super) fn fill_in<'a>(
        &self,
        root: &impl Fn(&str) -> Option<&'a Value>,
        left: &mut usize,
    ) -> Option<Value> {
        let mut take = |bytes: usize| {
            *left = left.checked_sub(bytes)?;
            Some(())
        };
        Some(match self {
            Self::Plain(value) => value.clone(),
            Self::Whole(path) => {
                let value = path.follow(root).unwrap_or(&Value::Null);
                take(bytes_of(value))?;
                value.clone()
            }
            Self::Mixed(parts) => {
                let mut text = String::new();
                for part in parts {
                    match part {
                        Part::Text(plain) => text.push_str(plain),
                        Part::Path(path) => {
                            let value = path.follow(root).unwrap_or(&Value::Null);
                            take(bytes_of(value))?;
                            text.push_str(&text_of(value));
                        }
                    }
                }
                Value::String(text)
            }
            Self::List(items) => {
                Value::Array(items.iter().map(|t| t.fill_in(root, left)).collect::<Option<_>>()?)
            }
            Self::Object(members) => {
                let filled = members.iter().map(|(n, t)| Some((n.clone(), t.fill_in(root, left)?)));
                Value::Object(filled.collect::<Option<Map<_, _>>>()?)
            }
        })
    }

    /// Whether it holds no block.
    pub const fn is_plain(&self) -> bool {
        matches!(self, Self::Plain(_))
    }

    /// Every path in it.
    pub fn paths(&self) -> Vec<&Path> {
        match self {
            Self::Plain(_) => Vec::new(),
            Self::Whole(path) => vec![path],
            Self::Mixed(parts) => parts
                .iter()
                .filter_map(|p| match p {
                    Part::Path(path) => Some(path),
                    Part::Text(_) => None,
                })
                .collect(),
            Self::List(items) => items.iter().flat_map(Self::paths).collect(),
            Self::Object(members) => members.iter().flat_map(|(_, t)| t.paths()).collect(),
        }
    }
}

impl Path {
    /// Reads `root.name[0]["name"]`.
    pub fn read(text: &str) -> Option<Self> {
        let (root, mut rest) = name(text.trim())?;
        let mut steps = Vec::new();
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('.') {
                let (member, after) = name(after)?;
                steps.push(Step::Member(member.into()));
                rest = after;
            } else {
                let (inside, after) = bracket(rest.strip_prefix('[')?)?;
                steps.push(inside);
                rest = after;
            }
        }
        Some(Self { root: root.into(), steps })
    }

    /// What it leads to, if anything.
    pub fn follow<'a>(&self, root: &impl Fn(&str) -> Option<&'a Value>) -> Option<&'a Value> {
        self.steps.iter().try_fold(root(&self.root)?, |value, step| match step {
            Step::Member(name) => value.as_object()?.get(name),
            Step::Place(place) => value.as_array()?.get(*place),
        })
    }
}

/// A value as text, as mixed templates and text comparisons see it: null is nothing.
pub fn text_of(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

/// About how many bytes a value has as JSON.
fn bytes_of(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 4,
        Value::Number(_) => 8,
        Value::String(text) => text.len() + 2,
        Value::Array(items) => items.iter().map(|item| bytes_of(item) + 1).sum::<usize>() + 2,
        Value::Object(members) => {
            members.iter().map(|(name, member)| name.len() + bytes_of(member) + 4).sum::<usize>() + 2
        }
    }
}

fn read_text(text: &str, roots: &[&str]) -> Result<Template, Unreadable> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let (block, after) = after.split_once("}}").ok_or(Unreadable::Open)?;
        let path = Path::read(block).ok_or_else(|| Unreadable::NoPath(block.into()))?;
        if !roots.contains(&path.root.as_str()) {
            let known = roots.iter().map(|r| format!("`{r}`")).collect::<Vec<_>>().join(", ");
            return Err(Unreadable::Root(block.into(), known));
        }
        if !before.is_empty() {
            parts.push(Part::Text(before.into()));
        }
        parts.push(Part::Path(path));
        rest = after;
    }
    if parts.is_empty() {
        return Ok(Template::Plain(Value::String(text.into())));
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest.into()));
    }
    match <[Part; 1]>::try_from(parts) {
        Ok([Part::Path(path)]) => Ok(Template::Whole(path)),
        Ok([part @ Part::Text(_)]) => Ok(Template::Mixed(vec![part])),
        Err(parts) => Ok(Template::Mixed(parts)),
    }
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
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn fill(template: Value) -> Value {
        let ctx = json!({"input": {"n": 7, "s": "x", "none": null, "list": [1, {"deep": [true, "end"]}], "odd name": 1, "a-b": 2}});
        Template::read(&template, &["ctx"])
            .unwrap()
            .fill(&|root| (root == "ctx").then_some(&ctx), 1_000)
            .unwrap()
    }

    #[test]
    fn templates_fill_in() {
        let cases = [
            (json!("plain"), json!("plain")),
            (json!("{{ctx.input.n}}"), json!(7)),
            (json!("{{ ctx.input.n }}"), json!(7)),
            (json!("{{ctx.input.list[1].deep[0]}}"), json!(true)),
            (json!("{{ctx.input['odd name']}}"), json!(1)),
            (json!("{{ctx[\"input\"].a-b}}"), json!(2)),
            (json!("{{ctx.input.list}}"), json!([1, {"deep": [true, "end"]}])),
            (json!("n={{ctx.input.n}}, s={{ctx.input.s}}!"), json!("n=7, s=x!")),
            (json!("{{ctx.input.n}}{{ctx.input.n}}"), json!("77")),
            (json!(" {{ctx.input.n}}"), json!(" 7")),
            (json!("[{{ctx.input.none}}]"), json!("[]")),
            (json!("{{ctx.input.none}}"), json!(null)),
            (json!("{{ctx.nowhere.at.all[3]}}"), json!(null)),
            (json!("{{ctx.input.s.x}}"), json!(null)),
            (json!("{{ctx.input.list[9]}}"), json!(null)),
            (json!("l={{ctx.input.list}}"), json!("l=[1,{\"deep\":[true,\"end\"]}]")),
            (json!([1, "{{ctx.input.n}}", {"a": ["{{ctx.input.s}}"]}]), json!([1, 7, {"a": ["x"]}])),
            (json!({"k": {"{{x}}": "{{ctx.input.n}}"}}), json!({"k": {"{{x}}": 7}})),
            (json!("}} and { {"), json!("}} and { {")),
        ];
        for (template, filled) in cases {
            assert_eq!(fill(template.clone()), filled, "{template}");
        }
    }

    #[test]
    fn a_block_that_stands_a_thousand_times_is_refused() {
        let ctx = json!({"big": "x".repeat(1_000)});
        let within = |template: Value, limit| {
            Template::read(&template, &["ctx"]).unwrap().fill(&|_| Some(&ctx), limit).map(drop)
        };
        let many = "{{ctx.big}}".repeat(1_000);
        for template in [json!(many), json!(vec!["{{ctx}}"; 1_000]), json!({"a": [many.clone(), 1]})] {
            assert_eq!(within(template.clone(), 100_000), Err(Unreadable::TooLarge(100_000)));
            assert_eq!(within(template, 2_000_000), Ok(()));
        }
    }

    #[test]
    fn what_is_no_path_is_refused() {
        let refused = [
            "{{",
            "{{}}",
            "{{ctx",
            "{{ctx.}}",
            "{{ctx..a}}",
            "{{ctx.a b}}",
            "{{ctx[}}",
            "{{ctx[]}}",
            "{{ctx[-1]}}",
            "{{ctx['a}}",
            "{{ctx['a'}}",
            "{{ctx.a()}}",
            "{{ctx.a + 1}}",
            "{{1}}",
            "{{.a}}",
            "{{ctx.1a}}",
            "{{ctx[99999999999999999999999]}}",
            "{{{ctx.a}}}",
            "ok {{ctx.a}} then {{",
        ];
        for text in refused {
            assert!(Template::read(&json!([text]), &["ctx"]).is_err(), "{text}");
        }
        let error = Template::read(&json!("{{event.a}}"), &["ctx"]).unwrap_err();
        assert_eq!(error.to_string(), "`{{event.a}}` begins with none of `ctx`");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,40}") {
            if let Ok(template) = Template::read(&json!(text), &["ctx"])
                && template.is_plain()
            {
                prop_assert_eq!(template.fill(&|_| None, 0).unwrap(), json!(text));
            }
        }

        #[test]
        fn blocks_among_text_are_found(before in "[a-z {}]{0,6}", after in "[a-z ]{0,6}", n in any::<i64>()) {
            prop_assume!(!before.contains("{{") && !before.ends_with('{'));
            let ctx = json!({"n": n});
            let text = format!("{before}{{{{ctx.n}}}}{after}");
            let filled = Template::read(&json!(text), &["ctx"]).unwrap().fill(&|_| Some(&ctx), 100).unwrap();
            let wanted = if before.is_empty() && after.is_empty() { json!(n) } else { json!(format!("{before}{n}{after}")) };
            prop_assert_eq!(filled, wanted);
        }
    }
}
