//! Tells of a member that a script read and that is not there: of what, what was meant, and what to write instead.

use rhai::Position;
use rules::nearest::nearest;
use serde_json::Value;

/// How many names of an object are compared with the one that is not there.
const MAX_COMPARED: usize = 500;

/// What is said of the member `name`, at `position` in the source, that some object does not have.
pub(crate) fn told(source: &str, position: Position, name: &str, vars: &[(&str, Value)]) -> String {
    let path = path_before(source, position);
    let object = path.as_deref().and_then(|path| follow(path, vars)).and_then(Value::as_object);
    // Without a path that leads to it the object is one that the script made, whose names are not known here.
    let near = object.and_then(|o| nearest(name, o.keys().take(MAX_COMPARED).map(String::as_str)));
    let near = near.map_or_else(String::new, |near| format!("; `{near}` is the nearest name that it has"));
    let owner = path.filter(|_| object.is_some());
    let (subject, example) = match &owner {
        Some(path) => (format!("`{path}` has"), path.as_str()),
        None => ("an object has".to_owned(), "x"),
    };
    format!(
        "{subject} no `{name}`{near}. Mend the name; a member that may be absent is read by \
         `{example}.get(\"{name}\") ?? 0`, or asked for by `\"{name}\" in {example}`"
    )
}

/// The path of plain names that stands before a member, as `ctx.input` before `.amount`; none where something
/// else stands there.
fn path_before(source: &str, position: Position) -> Option<String> {
    let line = source.lines().nth(position.line()?.checked_sub(1)?)?;
    let before: String = line.chars().take(position.position()?.checked_sub(1)?).collect();
    let before = before.trim_end_matches(|c: char| c.is_whitespace() || matches!(c, '.' | '?' | '['));
    let begins = before
        .rfind(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '.' | '?')))
        .map_or(0, |at| at + before[at..].chars().next().map_or(1, char::len_utf8));
    let path = before[begins..].replace('?', "");
    (!path.is_empty()).then_some(path)
}

/// What a path leads to among the variables, as they were when the script began.
fn follow<'a>(path: &str, vars: &'a [(&str, Value)]) -> Option<&'a Value> {
    let mut names = path.split('.');
    let root = names.next()?;
    let (_, first) = vars.iter().find(|(name, _)| *name == root)?;
    names.try_fold(first, |value, name| value.get(name))
}
