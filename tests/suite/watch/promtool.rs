//! Asks Prometheus' own tools about the rules, their unit tests, the configurations and every panel's query.

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::json;

use super::board::{Board, boards, folder};

/// A tool of Debian's packages, where `.ci/prometheus` unpacked them or where they are installed.
fn tool(name: &str) -> Option<PathBuf> {
    let unpacked = folder().join("../target/prometheus/usr/bin").join(name);
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::iter::once(unpacked)
        .chain(std::env::split_paths(&paths).map(|path| path.join(name)))
        .find(|path| path.is_file())
}

/// Runs a tool in the folder of the rules; nothing where there is none, which `.ci/prometheus` has said aloud.
fn ask(name: &str, arguments: &[&str]) -> Option<Output> {
    let Some(path) = tool(name) else {
        tests::tell(&format!(
            "NOT TESTED: {name} {arguments:?}: it is not here, and `.ci/prometheus` fetches it"
        ));
        return None;
    };
    // It lives for seconds and holds little: collecting its garbage as often as is usual takes a third of its work.
    Some(Command::new(path).args(arguments).env("GOGC", "400").current_dir(folder()).output().unwrap())
}

fn approves(name: &str, arguments: &[&str]) {
    if let Some(said) = ask(name, arguments) {
        let text = [said.stdout, said.stderr].map(|out| String::from_utf8_lossy(&out).into_owned()).concat();
        assert!(said.status.success(), "{name} {arguments:?}:\n{text}");
    }
}

#[test]
fn the_configurations_are_well_formed() {
    approves("promtool", &["check", "config", "prometheus.yaml"]);
    approves("promtool", &["check", "rules", "rules/alerts.yaml", "rules/recording.yaml"]);
    approves("amtool", &["check-config", "alertmanager.yaml"]);
}

#[test]
fn every_rule_does_what_its_tests_say() {
    let mut files: Vec<String> = std::fs::read_dir(folder().join("rules/tests"))
        .unwrap()
        .map(|file| format!("rules/tests/{}", file.unwrap().file_name().to_string_lossy()))
        .collect();
    files.sort();
    assert!(files.len() > 3, "{files:?}");
    let arguments: Vec<&str> =
        ["test", "rules"].into_iter().chain(files.iter().map(String::as_str)).collect();
    approves("promtool", &arguments);
}

#[test]
fn every_query_of_a_panel_is_promql() {
    let rules: Vec<serde_json::Value> = boards()
        .iter()
        .flat_map(Board::queries)
        .enumerate()
        .map(|(number, query)| {
            // A rule is the one form in which promtool reads an expression without a server.
            let expression = query.expression.replace("$__rate_interval", "1m");
            json!({ "record": format!("panel:{number}"), "expr": expression, "labels": { "place": query.place } })
        })
        .collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    let groups = json!({ "groups": [ { "name": "panels", "rules": rules } ] });
    std::fs::write(file.path(), groups.to_string()).unwrap();
    approves("promtool", &["check", "rules", &file.path().to_string_lossy()]);
}
