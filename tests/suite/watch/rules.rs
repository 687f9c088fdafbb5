//! Holds the rules to what makes an alert useful at night, and to figures that exist.

use std::collections::{BTreeMap, BTreeSet};

use super::board::{Board, boards, folder, text};
use super::expression::{Selector, selectors};

/// What a rule may ask for besides figures of ours: what Prometheus says of its own work.
const PROMETHEUS: [&str; 3] = ["up", "scrape_duration_seconds", "prometheus_rule_evaluation_failures_total"];

/// How soon somebody must look.
const SEVERITIES: [&str; 2] = ["critical", "warning"];

/// The lines of each rule that begins with this word, by its name.
fn blocks(file: &str, word: &str) -> BTreeMap<String, String> {
    let begin = format!("- {word}: ");
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    let mut open = None;
    for line in text(file).lines() {
        let bare = line.trim_start();
        if let Some(name) = bare.strip_prefix(&begin) {
            assert!(!found.contains_key(name), "{file}: `{name}` is there twice");
            open = Some(name.to_owned());
        } else if bare.starts_with("- ") || bare.starts_with('#') {
            open = None;
        }
        if let Some(name) = &open {
            let block = found.entry(name.clone()).or_default();
            block.push_str(bare);
            block.push('\n');
        }
    }
    found
}

pub(super) fn alerts() -> BTreeMap<String, String> {
    blocks("rules/alerts.yaml", "alert")
}

fn recorded() -> BTreeMap<String, String> {
    blocks("rules/recording.yaml", "record")
}

/// What a rule asks for: its `expr`, on one line or on those that follow.
fn expression(block: &str) -> String {
    let from = block.find("expr: ").unwrap_or_else(|| panic!("no `expr` in:\n{block}"));
    let rest = &block[from + "expr: ".len()..];
    let end = ["\nfor: ", "\nlabels: "].iter().filter_map(|end| rest.find(end)).min().unwrap_or(rest.len());
    rest[..end].trim_start_matches(">-").replace('\n', " ")
}

#[test]
fn every_alert_says_how_bad_it_is_and_what_is_wrong() {
    let mut faults = Vec::new();
    let alerts = alerts();
    assert!(alerts.len() > 25, "{:?}", alerts.keys());
    for (name, block) in &alerts {
        if !name.starts_with("Millrace") {
            faults.push(format!("{name}: its name does not say whose it is"));
        }
        if !SEVERITIES.iter().any(|severity| block.contains(&format!("labels: {{severity: {severity}}}"))) {
            faults.push(format!("{name}: its severity is none of {SEVERITIES:?}"));
        }
        for part in ["summary: ", "description: ", "runbook_url: docs/RUNBOOK.md#"] {
            if !block.contains(&format!("\n{part}")) {
                faults.push(format!("{name}: has no `{part}`"));
            }
        }
    }
    assert!(faults.is_empty(), "an alert is for people:\n  {}", faults.join("\n  "));
}

#[test]
fn rules_ask_for_what_exists_and_what_is_recorded_is_used() {
    let (alerts, recorded) = (alerts(), recorded());
    assert!(recorded.len() > 5, "{:?}", recorded.keys());
    let mut faults = Vec::new();
    let mut used = BTreeSet::new();
    let panels = boards();
    let asked = alerts.iter().chain(&recorded).map(|(name, block)| (name.clone(), expression(block)));
    let shown = panels.iter().flat_map(Board::queries).map(|query| (query.place, query.expression));
    for (place, expression) in asked.chain(shown) {
        let named: Vec<Selector> = selectors(&expression);
        if named.is_empty()
            && !PROMETHEUS.iter().any(|name| expression.contains(name))
            && !expression.contains("ALERTS")
        {
            faults.push(format!("{place}: asks for nothing that is known: {expression}"));
        }
        for selector in named {
            if selector.is_recorded() {
                if !recorded.contains_key(&selector.name) {
                    faults.push(format!("{place}: nothing records `{}`", selector.name));
                }
                used.insert(selector.name);
            } else if selector.metric().is_none() {
                faults.push(format!("{place}: there is no `{}`", selector.name));
            }
        }
    }
    let unused = recorded.keys().filter(|name| !used.contains(*name));
    faults.extend(unused.map(|name| format!("{name}: is recorded and nothing asks for it")));
    assert!(faults.is_empty(), "a rule asks for what is there:\n  {}", faults.join("\n  "));
}

/// The tests of one alert: the name of each, and whether it expects the alert.
fn tests() -> Vec<(String, bool)> {
    let mut found = Vec::new();
    for file in std::fs::read_dir(folder().join("rules/tests")).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        for block in text.split("\n  - name: ").skip(1) {
            let name = block.lines().next().unwrap_or("").to_owned();
            let expects = !block.contains("exp_alerts: []");
            let asked = format!("alertname: {}\n", name.split(' ').next().unwrap_or(""));
            assert!(block.contains(&asked), "the test `{name}` looks at another alert");
            found.push((name, expects));
        }
    }
    found
}

#[test]
fn every_alert_is_tested_firing_silent_and_without_data() {
    let tests = tests();
    let mut faults = Vec::new();
    for name in alerts().keys() {
        let of: Vec<&(String, bool)> =
            tests.iter().filter(|(test, _)| test.split(' ').next() == Some(name)).collect();
        if !of.iter().any(|(test, expects)| *expects && test.contains(" fires")) {
            faults.push(format!("{name}: no test sees it fire"));
        }
        if !of.iter().any(|(test, expects)| !expects && test.contains(" is silent")) {
            faults.push(format!("{name}: no test sees it silent"));
        }
        if !of.iter().any(|(test, _)| test.contains(" without data") || test.contains("the data ends")) {
            faults.push(format!("{name}: no test says what it makes of missing figures"));
        }
    }
    assert!(faults.is_empty(), "a rule is tested like code:\n  {}", faults.join("\n  "));
}
