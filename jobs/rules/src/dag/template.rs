//! Templates: `{{root.path[0].x}}` inside JSON, paths only, never code.
//!
//! A text that is one block keeps the type of what it leads to; in mixed text each block is joined as
//! text and null as nothing. Arrays and objects are gone through. A path that leads nowhere is an error,
//! unless its block says what stands there instead: `{{root.path ?? "none"}}`.

use serde_json::{Map, Value};

use super::limits::cut;
pub use super::path::{Path, Step};
use crate::kept;

/// What stands between a path and the value that is taken where it leads to nothing.
const OTHERWISE: &str = "??";

/// The longest block that a message repeats, in bytes.
const MAX_TOLD_BYTES: usize = 200;

/// A template, read and ready to be filled in.
#[derive(Debug, Clone, PartialEq)]
pub enum Template {
    /// No block anywhere inside.
    Plain(Value),
    /// A text that is one block.
    Whole(Block),
    /// A text with blocks in it.
    Mixed(Vec<Part>),
    /// A list with blocks somewhere inside.
    List(Vec<Template>),
    /// An object with blocks somewhere inside its values.
    Object(Vec<(String, Template)>),
}

/// A piece of mixed text.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// Text as it stands.
    Text(String),
    /// A block.
    Block(Block),
}

/// A path between braces.
#[derive(Debug, Clone, PartialEq)]
pub struct Block {
    /// Where it leads.
    pub path: Path,
    /// What stands there when it leads to nothing, or to null.
    pub otherwise: Option<Value>,
}

/// What becomes of a block that leads nowhere and says nothing of that case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// The template cannot be filled in.
    Refused,
    /// It is null: who asks whether there is something takes nothing for an answer.
    Null,
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
    /// What stands after `??` is no value.
    #[error(
        "`{{{{{0}}}}}` has no JSON value after `??`; write `{{{{root.name ?? \"none\"}}}}`, `?? 0` or `?? null`"
    )]
    NoValue(String),
    /// A path from a root that does not exist here.
    #[error("`{{{{{0}}}}}` begins with none of {1}")]
    Root(String, String),
}

/// Why a template cannot be filled in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfilled {
    /// What its blocks lead to is more than fits.
    #[error("what the template leads to has more than {0} bytes, which are taken at most")]
    TooLarge(usize),
    /// A block leads nowhere: its path, and why.
    #[error(
        "`{{{{{0}}}}}` leads to nothing: {1}. Mend the path, or say what stands there instead, as in `{{{{{0} ?? null}}}}`"
    )]
    Nothing(String, String),
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

    /// Fills it in, with at most `limit` bytes, as they are kept, from its blocks: a short text can hold one block a
    /// thousand times. `root` gives the value of a root.
    ///
    /// # Errors
    /// [`Unfilled`].
    pub fn fill<'a>(
        &self,
        root: &impl Fn(&str) -> Option<&'a Value>,
        limit: usize,
    ) -> Result<Value, Unfilled> {
        self.fill_in(root, Missing::Refused, &mut Room::of(limit))
    }

    /// As [`Self::fill`], where several templates share one room.
    pub(super) fn fill_in<'a>(
        &self,
        root: &impl Fn(&str) -> Option<&'a Value>,
        missing: Missing,
        room: &mut Room,
    ) -> Result<Value, Unfilled> {
        Ok(match self {
            Self::Plain(value) => value.clone(),
            Self::Whole(block) => {
                let value = block.value(root, missing)?;
                room.take(value)?;
                value.clone()
            }
            Self::Mixed(parts) => {
                let mut text = String::new();
                for part in parts {
                    match part {
                        Part::Text(plain) => text.push_str(plain),
                        Part::Block(block) => {
                            let value = block.value(root, missing)?;
                            room.take(value)?;
                            text.push_str(&text_of(value));
                        }
                    }
                }
                Value::String(text)
            }
            Self::List(items) => {
                let filled: Result<_, _> = items.iter().map(|t| t.fill_in(root, missing, room)).collect();
                Value::Array(filled?)
            }
            Self::Object(members) => {
                let filled = members.iter().map(|(n, t)| Ok((n.clone(), t.fill_in(root, missing, room)?)));
                Value::Object(filled.collect::<Result<Map<_, _>, _>>()?)
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
            Self::Whole(block) => vec![&block.path],
            Self::Mixed(parts) => parts
                .iter()
                .filter_map(|p| match p {
                    Part::Block(block) => Some(&block.path),
                    Part::Text(_) => None,
                })
                .collect(),
            Self::List(items) => items.iter().flat_map(Self::paths).collect(),
            Self::Object(members) => members.iter().flat_map(|(_, t)| t.paths()).collect(),
        }
    }
}

impl Block {
    /// Reads what stands between the braces.
    fn read(text: &str, roots: &[&str]) -> Result<Self, Unreadable> {
        let told = || cut(text.trim().into(), MAX_TOLD_BYTES);
        let (path, rest) = Path::read(text.trim()).ok_or_else(|| Unreadable::NoPath(told()))?;
        if !roots.contains(&path.root.as_str()) {
            let known = roots.iter().map(|r| format!("`{r}`")).collect::<Vec<_>>().join(", ");
            return Err(Unreadable::Root(told(), known));
        }
        let otherwise = match rest.trim_start().strip_prefix(OTHERWISE) {
            Some(value) => Some(literal(value.trim()).ok_or_else(|| Unreadable::NoValue(told()))?),
            None if rest.is_empty() => None,
            None => return Err(Unreadable::NoPath(told())),
        };
        Ok(Self { path, otherwise })
    }

    fn value<'s, 'a: 's>(
        &'s self,
        root: &impl Fn(&str) -> Option<&'a Value>,
        missing: Missing,
    ) -> Result<&'s Value, Unfilled> {
        match (self.path.follow(root), &self.otherwise, missing) {
            (None | Some(Value::Null), Some(otherwise), _) => Ok(otherwise),
            (Some(value), ..) => Ok(value),
            (None, None, Missing::Null) => Ok(&Value::Null),
            (None, None, Missing::Refused) => {
                Err(Unfilled::Nothing(self.path.text(), self.path.astray(root)))
            }
        }
    }
}

/// What blocks may still lead to, in bytes.
pub(super) struct Room {
    limit: usize,
    left: usize,
}

impl Room {
    pub(super) const fn of(limit: usize) -> Self {
        Self { limit, left: limit }
    }

    fn take(&mut self, value: &Value) -> Result<(), Unfilled> {
        self.left = self.left.checked_sub(kept::bytes(value)).ok_or(Unfilled::TooLarge(self.limit))?;
        Ok(())
    }
}

/// A value as it is written after `??`: JSON without two closing braces beside each other, which end the block, or a text in single quotes, which needs no escaping where the
/// template itself stands in JSON.
fn literal(text: &str) -> Option<Value> {
    let quoted = text.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
    match quoted {
        Some(plain) if !plain.contains('\'') => Some(Value::String(plain.into())),
        Some(_) => None,
        None => serde_json::from_str(text).ok(),
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

fn read_text(text: &str, roots: &[&str]) -> Result<Template, Unreadable> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let (block, after) = after.split_once("}}").ok_or(Unreadable::Open)?;
        let block = Block::read(block, roots)?;
        if !before.is_empty() {
            parts.push(Part::Text(before.into()));
        }
        parts.push(Part::Block(block));
        rest = after;
    }
    if parts.is_empty() {
        return Ok(Template::Plain(Value::String(text.into())));
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest.into()));
    }
    match <[Part; 1]>::try_from(parts) {
        Ok([Part::Block(block)]) => Ok(Template::Whole(block)),
        Ok([part @ Part::Text(_)]) => Ok(Template::Mixed(vec![part])),
        Err(parts) => Ok(Template::Mixed(parts)),
    }
}

#[cfg(test)]
#[path = "template_tests.rs"]
mod tests;
