//! Documents that the installation knows beforehand, asked for by the hash of their text.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::path::Path;
use std::str::FromStr;

use async_graphql::parser::parse_query;
use jobs::config::Reader;
use sha2::{Digest, Sha256};

use super::scan::check_nesting;
use crate::error::Fault;

/// What stands before the hash in the id of a document.
const SCHEME: &str = "sha256:";

/// The ending of a document's file.
const ENDING: &str = "graphql";

/// The most documents that are known.
const MAX_DOCUMENTS: usize = 10_000;

/// The largest document, in bytes.
const MAX_BYTES: usize = 256 * 1024;

/// Who may send which documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Mode {
    /// Any; none is known by an id.
    #[default]
    Off,
    /// Any; those that are known by their ids, too.
    Allowed,
    /// Those that are known, by their ids, and no others.
    Only,
}

/// A word that names no mode.
#[derive(Debug)]
struct BadMode;

impl fmt::Display for BadMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it must be `off`, `allowed` or `only`")
    }
}

impl FromStr for Mode {
    type Err = BadMode;

    fn from_str(text: &str) -> Result<Self, BadMode> {
        match text {
            "off" => Ok(Self::Off),
            "allowed" => Ok(Self::Allowed),
            "only" => Ok(Self::Only),
            _ => Err(BadMode),
        }
    }
}

/// The documents that are known, by the hash of their text.
#[derive(Clone, Default)]
pub struct Documents {
    mode: Mode,
    known: HashMap<String, String>,
}

impl fmt::Debug for Documents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Documents({:?}, {})", self.mode, self.known.len())
    }
}

impl Documents {
    /// Reads `PERSISTED_DOCUMENTS`, and what `PERSISTED_DOCUMENTS_PATH` leads to.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Self {
        let mode = reader.parsed("PERSISTED_DOCUMENTS", Mode::Off);
        let path = reader.text("PERSISTED_DOCUMENTS_PATH");
        let known = match (mode, path) {
            (Mode::Off, _) => HashMap::new(),
            (Mode::Allowed | Mode::Only, None) => {
                reader.fault(
                    "`PERSISTED_DOCUMENTS_PATH` is not set; it is needed to know which documents are meant",
                );
                HashMap::new()
            }
            (Mode::Allowed | Mode::Only, Some(path)) => load(Path::new(&path)).unwrap_or_else(|why| {
                reader.fault(format!("`PERSISTED_DOCUMENTS_PATH` is `{path}`: {why}"));
                HashMap::new()
            }),
        };
        Self { mode, known }
    }

    /// The text of the document that a request asks for.
    ///
    /// # Errors
    /// [`Fault::Validation`] where neither or both are given, or an id where there are none; [`Fault::NotPersisted`]
    /// for an id that is not known, and for a text where only ids are taken.
    pub(super) fn find(&self, text: Option<String>, id: Option<String>) -> Result<String, Fault> {
        match (text, id) {
            (Some(_), Some(_)) => {
                Err(Fault::Validation("`query` and `documentId` were sent; send one".into()))
            }
            (None, None) => {
                Err(Fault::Validation("`query` is missing; send the text of the document in it".into()))
            }
            (Some(_), None) if self.mode == Mode::Only => Err(Fault::NotPersisted(
                "this installation takes documents that it knows and no others; send `documentId` in the place of `query`",
            )),
            (Some(text), None) => Ok(text),
            (None, Some(_)) if self.mode == Mode::Off => {
                Err(Fault::Validation("no documents are known here by an id; send `query`".into()))
            }
            (None, Some(id)) => {
                let known = id.strip_prefix(SCHEME).and_then(|hash| self.known.get(hash));
                known.cloned().ok_or(Fault::NotPersisted(
                    "no document of this id is known here; a `documentId` reads `sha256:` and the hash of the text in lower case",
                ))
            }
        }
    }
}

/// Reads a folder of documents, one to a file, or a file of JSON that has them by their ids.
fn load(path: &Path) -> Result<HashMap<String, String>, String> {
    let found = if path.is_dir() { folder(path)? } else { manifest(path)? };
    if found.is_empty() || found.len() > MAX_DOCUMENTS {
        return Err(format!("it holds {} documents; 1 to {MAX_DOCUMENTS} can be known", found.len()));
    }
    let mut known = HashMap::new();
    for (name, text) in found {
        if text.len() > MAX_BYTES {
            return Err(format!("`{name}` has {} bytes; at most {MAX_BYTES} are taken", text.len()));
        }
        check_nesting(&text).map_err(|fault| format!("`{name}`: {fault}"))?;
        parse_query(&text).map_err(|error| format!("`{name}` is no GraphQL: {error}"))?;
        known.insert(hash_of(&text), text);
    }
    Ok(known)
}

fn folder(path: &Path) -> Result<Vec<(String, String)>, String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path).map_err(|error| error.to_string())? {
        let file = entry.map_err(|error| error.to_string())?.path();
        if file.extension().is_some_and(|ending| ending == ENDING) {
            let text = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
            found.push((file.display().to_string(), text));
        }
    }
    Ok(found)
}

fn manifest(path: &Path) -> Result<Vec<(String, String)>, String> {
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    let found: HashMap<String, String> = serde_json::from_str(&text)
        .map_err(|error| format!("it is no JSON object of documents by their ids: {error}"))?;
    for (id, text) in &found {
        if id.strip_prefix(SCHEME) != Some(&hash_of(text)) {
            return Err(format!(
                "`{id}` is not the id of its document, which is `{SCHEME}{}`",
                hash_of(text)
            ));
        }
    }
    Ok(found.into_iter().collect())
}

fn hash_of(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(mode: &str, path: Option<&Path>) -> Result<Documents, String> {
        let look_up = |name: &str| match name {
            "PERSISTED_DOCUMENTS" => Some(mode.to_owned()),
            "PERSISTED_DOCUMENTS_PATH" => path.map(|path| path.display().to_string()),
            _ => None,
        };
        let mut reader = Reader::new(&look_up);
        let documents = Documents::read(&mut reader);
        reader.finish().map(|()| documents).map_err(|faults| faults.to_string())
    }

    #[test]
    fn a_folder_and_a_file_hold_documents() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.graphql"), "{ me { user { id } } }").unwrap();
        fs::write(folder.path().join("notes.txt"), "no document").unwrap();
        let id = format!("{SCHEME}{}", hash_of("{ me { user { id } } }"));
        let of_folder = read("allowed", Some(folder.path())).unwrap();
        assert_eq!(of_folder.find(None, Some(id.clone())).unwrap(), "{ me { user { id } } }");
        assert_eq!(of_folder.find(Some("{ a }".into()), None).unwrap(), "{ a }");

        let file = folder.path().join("all.json");
        let write = |id: &str| {
            fs::write(&file, serde_json::json!({id: "{ me { user { id } } }"}).to_string()).unwrap()
        };
        write(&id);
        let of_file = read("only", Some(&file)).unwrap();
        assert!(of_file.find(None, Some(id.clone())).is_ok());
        assert!(matches!(
            of_file.find(Some("{ me { user { id } } }".into()), None),
            Err(Fault::NotPersisted(_))
        ));
        assert!(matches!(of_file.find(None, Some("sha256:00".into())), Err(Fault::NotPersisted(_))));
        assert!(matches!(of_file.find(Some("{ a }".into()), Some(id.clone())), Err(Fault::Validation(_))));
        assert!(matches!(Documents::default().find(None, Some(id)), Err(Fault::Validation(_))));
        // An id that is not that of its text would let one document pass for another.
        write("sha256:00");
        assert!(read("only", Some(&file)).unwrap_err().contains("is not the id of its document"));
    }

    #[test]
    fn what_holds_no_documents_ends_the_start() {
        let folder = tempfile::tempdir().unwrap();
        for (mode, path, told) in [
            ("only", None, "is not set"),
            ("sometimes", None, "`off`, `allowed` or `only`"),
            ("allowed", Some(folder.path()), "it holds 0 documents"),
            ("allowed", Some(Path::new("/nowhere")), "No such file"),
        ] {
            let faults = read(mode, path).unwrap_err();
            assert!(faults.contains(told), "{faults}");
        }
        fs::write(folder.path().join("a.graphql"), "{ me").unwrap();
        assert!(read("only", Some(folder.path())).unwrap_err().contains("is no GraphQL"));
        assert!(read("off", None).is_ok());
    }
}
