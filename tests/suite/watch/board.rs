//! Reads the dashboards as they are given to Grafana.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// A dashboard's file.
pub(super) struct Board {
    /// The file's name without its ending.
    pub(super) name: String,
    /// What stands in it.
    pub(super) json: Value,
}

/// One query of a panel.
pub(super) struct Query {
    /// Where it stands: the dashboard and the panel's title.
    pub(super) place: String,
    /// The query.
    pub(super) expression: String,
}

/// The folder of all that watches.
pub(super) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../grafana").canonicalize().unwrap()
}

/// The text of a file below [`folder`].
pub(super) fn text(path: &str) -> String {
    fs::read_to_string(folder().join(path)).unwrap()
}

/// Every dashboard, by name.
pub(super) fn boards() -> Vec<Board> {
    let files = fs::read_dir(folder().join("dashboards")).unwrap();
    let mut boards: Vec<Board> = files
        .map(|file| {
            let path = file.unwrap().path();
            let json = serde_json::from_str(&fs::read_to_string(&path).unwrap());
            Board {
                name: path.file_stem().unwrap().to_string_lossy().into_owned(),
                json: json.unwrap_or_else(|fault| panic!("{}: {fault}", path.display())),
            }
        })
        .collect();
    boards.sort_by(|a, b| a.name.cmp(&b.name));
    boards
}

/// The elements of a list, none where there is no list.
pub(super) fn list<'a>(json: &'a Value, at: &str) -> &'a [Value] {
    json.pointer(at).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The text at a place, empty where there is none.
pub(super) fn word<'a>(json: &'a Value, at: &str) -> &'a str {
    json.pointer(at).and_then(Value::as_str).unwrap_or("")
}

impl Board {
    /// The panels that show something; rows only part them.
    pub(super) fn panels(&self) -> impl Iterator<Item = &Value> {
        list(&self.json, "/panels").iter().filter(|panel| word(panel, "/type") != "row")
    }

    /// Where a panel stands, for people.
    pub(super) fn place(&self, panel: &Value) -> String {
        format!("{}, `{}`", self.name, word(panel, "/title"))
    }

    /// Every query of every panel.
    pub(super) fn queries(&self) -> Vec<Query> {
        self.panels()
            .flat_map(|panel| {
                list(panel, "/targets").iter().map(|target| Query {
                    place: self.place(panel),
                    expression: word(target, "/expr").to_owned(),
                })
            })
            .collect()
    }
}
