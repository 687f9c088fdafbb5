//! Reads which figures a PromQL expression names, with the labels by which it chooses them.

use jobs::metrics::{CATALOG, Metric, Shape};

/// How everything that is ours begins.
const PREFIX: &str = "millrace";

/// The endings that a histogram's series add to its name.
const OF_HISTOGRAM: [&str; 3] = ["_bucket", "_count", "_sum"];

/// One figure as an expression names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Selector {
    /// Its name, as it stands.
    pub(super) name: String,
    /// Its matchers as they stand, such as `state="ready"`.
    pub(super) matchers: Vec<String>,
}

impl Selector {
    /// The metric of the catalogue that it names; none for what a rule records, and for what does not exist.
    pub(super) fn metric(&self) -> Option<&'static Metric> {
        CATALOG.iter().find(|metric| match metric.shape {
            Shape::Counter | Shape::Gauge => metric.name == self.name,
            Shape::Histogram(_) => {
                OF_HISTOGRAM.iter().any(|end| self.name.strip_suffix(end) == Some(metric.name))
            }
        })
    }

    /// Whether a rule of ours records it.
    pub(super) fn is_recorded(&self) -> bool {
        self.name.starts_with("millrace:")
    }

    /// The labels by which it chooses.
    pub(super) fn labels(&self) -> Vec<&str> {
        self.matchers.iter().map(|m| m.split(['=', '!']).next().unwrap_or("")).collect()
    }
}

/// Every figure of ours that an expression names.
pub(super) fn selectors(expression: &str) -> Vec<Selector> {
    let text = expression.as_bytes();
    let (mut found, mut at) = (Vec::new(), 0);
    while at < text.len() {
        if text[at] == b'"' {
            at = after_string(text, at);
        } else if is_word(text[at]) {
            let end = at + text[at..].iter().take_while(|byte| is_word(**byte)).count();
            let name = &expression[at..end];
            at = end;
            if name.starts_with(PREFIX) {
                let matchers = if text.get(at) == Some(&b'{') { braces(expression, at) } else { Vec::new() };
                found.push(Selector { name: name.to_owned(), matchers });
            }
        } else {
            at += 1;
        }
    }
    found
}

/// The labels that stand in `by (…)`.
pub(super) fn grouped_by(expression: &str) -> Vec<&str> {
    expression
        .split("by (")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .flat_map(|labels| labels.split(',').map(str::trim))
        .collect()
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':')
}

fn after_string(text: &[u8], open: usize) -> usize {
    let mut at = open + 1;
    while at < text.len() && text[at] != b'"' {
        at += if text[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
}

/// The matchers between the brace at `open` and its partner.
fn braces(expression: &str, open: usize) -> Vec<String> {
    let text = expression.as_bytes();
    let (mut matchers, mut begin, mut at) = (Vec::new(), open + 1, open + 1);
    while at < text.len() && text[at] != b'}' {
        match text[at] {
            b'"' => at = after_string(text, at),
            b',' => {
                matchers.push(expression[begin..at].trim().to_owned());
                at += 1;
                begin = at;
            }
            _ => at += 1,
        }
    }
    matchers.push(expression[begin..at.min(text.len())].trim().to_owned());
    matchers
}

#[test]
fn names_are_found_outside_of_texts_with_their_matchers() {
    let found = selectors(
        r#"sum by (le) (rate(millrace_job_run_seconds_bucket{job=~"a,}b",kind="x"}[5m])) / up{job=~"millrace.*"} > millrace:late:ratio"#,
    );
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(found[0].matchers, [r#"job=~"a,}b""#, r#"kind="x""#]);
    assert_eq!(found[0].labels(), ["job", "kind"]);
    assert_eq!(found[0].metric().unwrap().name, "millrace_job_run_seconds");
    assert!(found[1].is_recorded() && found[1].metric().is_none());
    assert_eq!(
        selectors("millrace_job_run_seconds")[0].metric().map(|m| m.name),
        None,
        "a histogram is no series"
    );
    assert_eq!(grouped_by("sum by (a, b) (x) / max by (c) (y)"), ["a", "b", "c"]);
}
