//! Reads the few things that are needed out of what libvirt says in XML. What cannot be read is taken as
//! not said.

use quick_xml::Reader;
use quick_xml::XmlVersion;
use quick_xml::events::{BytesStart, Event};
use rules::machine::Seen;

use crate::hypervisor::seen::Mark;

/// The mark in a definition, or in the piece of one that libvirt returns for its namespace.
pub(super) fn mark_in(xml: &str) -> Option<Mark> {
    find(xml, |element, _| {
        is(element, "mark").then(|| {
            Some(Mark {
                operation: attribute(element, "operation")?.parse().ok()?,
                generation: attribute(element, "generation")?.parse().ok()?,
            })
        })?
    })
}

/// What people call the machine, from its definition.
#[cfg(test)]
pub(super) fn name_in(xml: &str) -> Option<String> {
    find(xml, |element, _| is(element, "machine").then(|| attribute(element, "name"))?)
}

/// The id of the host, from its capabilities.
pub(super) fn host_id_in(xml: &str) -> Option<String> {
    let mut found = None;
    texts(xml, |path, text| {
        if path == ["capabilities", "host", "uuid"] {
            found = Some(text.to_owned());
        }
    });
    found
}

/// The disks of a definition as the guest knows them, such as `vda`.
pub(super) fn targets_in(xml: &str) -> Vec<String> {
    let mut targets = Vec::new();
    find::<()>(xml, |element, path| {
        if is(element, "target") && path.last().is_some_and(|parent| parent == "disk") {
            targets.extend(attribute(element, "dev"));
        }
        None
    });
    targets
}

/// What a snapshot's description says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SnapshotText {
    /// Seconds since 1970 by the host's clock.
    pub(super) taken_at: i64,
    /// The state in which it was taken.
    pub(super) state: Seen,
    /// The name of the snapshot that it builds on.
    pub(super) parent: Option<String>,
}

/// What a snapshot's description says.
pub(super) fn snapshot_in(xml: &str) -> SnapshotText {
    let mut found = SnapshotText { taken_at: 0, state: Seen::Unknown, parent: None };
    texts(xml, |path, text| match path {
        ["domainsnapshot", "creationTime"] => found.taken_at = text.parse().unwrap_or(0),
        ["domainsnapshot", "state"] => {
            found.state = match text {
                "running" => Seen::Running,
                "blocked" => Seen::Blocked,
                "paused" => Seen::Paused,
                "shutdown" => Seen::ShuttingDown,
                "shutoff" | "disk-snapshot" => Seen::Off,
                "crashed" => Seen::Crashed,
                "pmsuspended" => Seen::Sleeping,
                _ => Seen::Unknown,
            }
        }
        ["domainsnapshot", "parent", "name"] => found.parent = Some(text.to_owned()),
        _ => {}
    });
    found
}

fn is(element: &BytesStart<'_>, name: &str) -> bool {
    element.local_name().as_ref() == name
}

fn attribute(element: &BytesStart<'_>, name: &str) -> Option<String> {
    let found = element.try_get_attribute(name).ok()??;
    Some(found.normalized_value(XmlVersion::Implicit1_0).ok()?.into_owned())
}

/// The first answer that an element gives, with the names of the elements around it.
fn find<T>(xml: &str, mut ask: impl FnMut(&BytesStart<'_>, &[String]) -> Option<T>) -> Option<T> {
    let mut reader = Reader::from_str(xml);
    let mut path = Vec::new();
    loop {
        match reader.read_event().ok()? {
            Event::Start(element) => {
                if let Some(answer) = ask(&element, &path) {
                    return Some(answer);
                }
                path.push(local(&element));
            }
            Event::Empty(element) => {
                if let Some(answer) = ask(&element, &path) {
                    return Some(answer);
                }
            }
            Event::End(_) => drop(path.pop()),
            Event::Eof => return None,
            _ => {}
        }
    }
}

/// Hands over the text of each element with the names around it, its own last.
fn texts(xml: &str, mut take: impl FnMut(&[&str], &str)) {
    let mut reader = Reader::from_str(xml);
    let mut path: Vec<String> = Vec::new();
    loop {
        match reader.read_event() {
            Ok(Event::Start(element)) => path.push(local(&element)),
            Ok(Event::End(_)) => drop(path.pop()),
            Ok(Event::Text(text)) => {
                let names: Vec<&str> = path.iter().map(String::as_str).collect();
                take(&names, text.trim());
            }
            Ok(Event::Eof) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

fn local(element: &BytesStart<'_>) -> String {
    element.local_name().as_ref().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_says_when_and_how_it_was_taken() {
        let xml = "<domainsnapshot><name>b</name><state>running</state><parent><name>a</name></parent>\
                   <creationTime>1700000000</creationTime><domain><name>x</name><state>off</state></domain>\
                   </domainsnapshot>";
        let parent = Some("a".to_owned());
        assert_eq!(snapshot_in(xml), SnapshotText { taken_at: 1_700_000_000, state: Seen::Running, parent });
    }

    #[test]
    fn what_is_no_xml_says_nothing() {
        for xml in ["", "<", "<mark operation='x'/>", "<a><b></a>", "not xml"] {
            assert_eq!(mark_in(xml), None, "{xml}");
            assert_eq!(targets_in(xml), Vec::<String>::new(), "{xml}");
        }
    }
}
