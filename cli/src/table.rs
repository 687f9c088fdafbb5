//! Prints results: aligned columns for people, one JSON document for programs.

use std::fmt::Display;
use std::io::{ErrorKind, Write};

use jobs::{Error, Result};
use serde::Serialize;

use crate::command::Output;

/// Text for a cell: what is not there is shown as a dash.
pub(crate) fn cell<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |v| v.to_string())
}

/// A time for people: seconds are enough, and UTC like everything that is stored.
pub(crate) fn time(at: chrono::DateTime<chrono::Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S").to_string()
}

/// Prints rows as a table, or `json` for programs.
///
/// # Errors
/// Internal when the value cannot be written as JSON.
pub(crate) fn print(
    output: Output,
    json: &impl Serialize,
    head: &[&str],
    rows: &[Vec<String>],
) -> Result<()> {
    if output.json {
        return print_json(json);
    }
    write(&render(head, rows))
}

/// Prints one thing as lines of `name  value`, or `json` for programs.
///
/// # Errors
/// Internal when the value cannot be written as JSON.
pub(crate) fn print_one(output: Output, json: &impl Serialize, lines: &[(&str, String)]) -> Result<()> {
    if output.json {
        return print_json(json);
    }
    let width = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let text: String = lines.iter().map(|(name, value)| format!("{name:width$}  {value}\n")).collect();
    write(&text)
}

/// Prints a result that is one sentence for people, or `json` for programs.
///
/// # Errors
/// Internal when the value cannot be written as JSON.
pub(crate) fn print_said(output: Output, json: &impl Serialize, said: &str) -> Result<()> {
    if output.json {
        return print_json(json);
    }
    write(&format!("{said}\n"))
}

/// Says something to people, on a line of its own. What goes on does so whether or not somebody reads it.
pub(crate) fn say(text: impl Display) {
    write(&format!("{text}\n")).unwrap_or_default();
}

fn print_json(value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(Error::internal)?;
    write(&format!("{text}\n"))
}

/// Writes to standard output. A reader that has seen enough, such as `head`, is no fault.
fn write(text: &str) -> Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Error::internal(error)),
        _ => Ok(()),
    }
}

fn render(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = head.iter().map(|h| h.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: Vec<&str>| {
        let padded: Vec<String> = cells.iter().zip(&widths).map(|(cell, w)| format!("{cell:<w$}")).collect();
        format!("{}\n", padded.join("  ").trim_end())
    };
    let mut text = line(head.to_vec());
    for row in rows {
        text.push_str(&line(row.iter().map(String::as_str).collect()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = vec![vec!["1".into(), "a long one".into()], vec!["22".into(), "ü".into()]];
        assert_eq!(render(&["ID", "WHAT"], &rows), "ID  WHAT\n1   a long one\n22  ü\n");
    }
}
