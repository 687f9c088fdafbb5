//! Holds every panel to what makes it readable, right on any installation, and true.

use std::collections::BTreeSet;

use jobs::metrics::CATALOG;
use serde_json::Value;

use super::board::{Board, boards, list, word};
use super::expression::{grouped_by, selectors};

/// The variable that every panel takes its data from.
const SOURCE: &str = "${datasource}";

/// Labels that Prometheus adds, and that of a histogram's bounds.
const ADDED_LABELS: [&str; 3] = ["job", "instance", "le"];

/// The columns of Grafana's grid.
const COLUMNS: u64 = 24;

/// What the leader of the schedulers alone reports: narrowed to a process, a panel of it would be empty, and added
/// up it would count twice what a former leader said.
const OF_THE_LEADER: [&str; 11] = [
    "millrace_audit_lag_seconds",
    "millrace_queue_",
    "millrace_workers_alive",
    "millrace_worker_heartbeat_age_seconds",
    "millrace_jobs_of_unknown_kind",
    "millrace_dlq_",
    "millrace_history_",
    "millrace_pg_",
    "millrace_machines",
    "millrace_schedule_overdue_seconds",
    "millrace_scheduler_leader",
];

/// What of the leader's is looked at by process all the same: who leads.
const BY_PROCESS: &str = "millrace_scheduler_leader";

fn refuse(law: &str, faults: &[String]) {
    assert!(faults.is_empty(), "{law}:\n  {}", faults.join("\n  "));
}

/// Gathers what `look` finds wrong with each panel.
fn faults_of_panels(look: impl Fn(&Board, &Value, &mut Vec<String>)) -> Vec<String> {
    let mut faults = Vec::new();
    for board in boards() {
        assert!(board.panels().count() > 5, "{} shows hardly anything", board.name);
        for panel in board.panels() {
            let mut found = Vec::new();
            look(&board, panel, &mut found);
            faults.extend(found.into_iter().map(|fault| format!("{}: {fault}", board.place(panel))));
        }
    }
    faults
}

#[test]
fn every_panel_says_what_it_shows_and_in_what_unit() {
    let faults = faults_of_panels(|_, panel, faults| {
        if word(panel, "/title").is_empty() {
            faults.push("has no title".into());
        }
        if !word(panel, "/description").ends_with('.') {
            faults.push("has no description, or one that is no sentence".into());
        }
        if word(panel, "/fieldConfig/defaults/unit").is_empty() {
            faults.push("has no unit".into());
        }
        if list(panel, "/fieldConfig/defaults/thresholds/steps").is_empty() {
            faults.push("has no thresholds".into());
        }
        if word(panel, "/type") == "timeseries" && list(panel, "/options/legend/calcs").is_empty() {
            faults.push("has a legend without figures".into());
        }
    });
    refuse("a panel can be read by who has not made it", &faults);
}

#[test]
fn every_query_takes_its_data_from_the_variable_and_names_its_lines() {
    let faults = faults_of_panels(|_, panel, faults| {
        let targets = list(panel, "/targets");
        if targets.is_empty() {
            faults.push("asks for nothing".into());
        }
        if word(panel, "/datasource/uid") != SOURCE {
            faults.push("has a data source of its own".into());
        }
        let mut ids = BTreeSet::new();
        for target in targets {
            if word(target, "/datasource/uid") != SOURCE || word(target, "/datasource/type") != "prometheus" {
                faults.push("has a query with a data source of its own".into());
            }
            if word(target, "/legendFormat").is_empty() {
                faults.push("has a query whose lines have no name".into());
            }
            if !ids.insert(word(target, "/refId")) {
                faults.push("has two queries of one refId".into());
            }
        }
    });
    refuse("a query belongs to the dashboard's data source", &faults);
}

#[test]
fn dashboards_are_files_that_keep_their_address() {
    let mut faults = Vec::new();
    let mut titles = BTreeSet::new();
    for board in boards() {
        let name = &board.name;
        let mut wrong = |fault: &str| faults.push(format!("{name}: {fault}"));
        if board.json.get("id") != Some(&Value::Null) {
            wrong("its id is not null, so it belongs to one Grafana");
        }
        if word(&board.json, "/uid") != format!("millrace-{name}") {
            wrong("its uid is not `millrace-` and its file's name");
        }
        if board.json["editable"] != false {
            wrong("it can be changed where nobody reviews it");
        }
        if !titles.insert(word(&board.json, "/title").to_owned()) {
            wrong("its title is another's");
        }
        let mut ids = BTreeSet::new();
        if !list(&board.json, "/panels").iter().all(|panel| ids.insert(panel["id"].as_u64().unwrap_or(0))) {
            wrong("two panels have one id");
        }
        if ids.contains(&0) {
            wrong("a panel has no id");
        }
    }
    assert_eq!(titles.len(), 6, "overview, queues, workflows, machines, API, Postgres: {titles:?}");
    refuse("a dashboard is kept in its file", &faults);
}

#[test]
fn panels_do_not_lie_on_one_another() {
    let mut faults = Vec::new();
    for board in boards() {
        let mut taken = BTreeSet::new();
        for panel in list(&board.json, "/panels") {
            let side = |name: &str| panel["gridPos"][name].as_u64().unwrap();
            let (x, y, w, h) = (side("x"), side("y"), side("w"), side("h"));
            let cells = (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y)));
            let free = cells.filter(|cell| !taken.insert(*cell)).count() == 0;
            if !free || x + w > COLUMNS {
                faults.push(board.place(panel));
            }
        }
    }
    refuse("each panel has a place of its own", &faults);
}

#[test]
fn variables_are_declared_and_used() {
    let mut faults = Vec::new();
    for board in boards() {
        let declared: Vec<&str> =
            list(&board.json, "/templating/list").iter().map(|v| word(v, "/name")).collect();
        for needed in ["datasource", "job", "instance", "runbook"] {
            if !declared.contains(&needed) {
                faults.push(format!("{}: has no variable `{needed}`", board.name));
            }
        }
        let all: String = board.panels().map(Value::to_string).collect();
        for name in &declared {
            if !all.contains(&format!("${name}")) && !all.contains(&format!("${{{name}}}")) {
                faults.push(format!("{}: nothing uses `${name}`", board.name));
            }
        }
        for query in board.queries() {
            for used in query.expression.split('$').skip(1) {
                let name: String =
                    used.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
                if !declared.contains(&name.as_str()) && name != "__rate_interval" {
                    faults.push(format!("{}: `${name}` is not declared", query.place));
                }
            }
        }
    }
    refuse("a variable is declared once and used", &faults);
}

#[test]
fn rates_are_over_the_window_that_grafana_chooses() {
    let mut faults = Vec::new();
    for query in boards().iter().flat_map(Board::queries) {
        let windows: Vec<&str> =
            query.expression.split('[').skip(1).filter_map(|rest| rest.split(']').next()).collect();
        let rates = ["rate(", "increase("].iter().map(|f| query.expression.matches(f).count()).sum::<usize>();
        if windows.len() != rates || windows.iter().any(|window| *window != "$__rate_interval") {
            faults.push(format!("{}: {}", query.place, query.expression));
        }
    }
    refuse("a window that is fixed is empty when scrapes are rarer and blind when one zooms out", &faults);
}

#[test]
fn queries_choose_the_installation_and_where_it_makes_sense_the_process() {
    let mut faults = Vec::new();
    for query in boards().iter().flat_map(Board::queries) {
        for selector in selectors(&query.expression) {
            let has = |matcher: &str| selector.matchers.iter().any(|m| m == matcher);
            let of_leader = OF_THE_LEADER.iter().any(|prefix| selector.name.starts_with(prefix));
            let mut wrong =
                |fault: &str| faults.push(format!("{}: `{}` {fault}", query.place, selector.name));
            if !has(r#"job=~"$job""#) {
                wrong("is of all installations");
            }
            let by_process = has(r#"instance=~"$instance""#);
            if of_leader && by_process && selector.name != BY_PROCESS {
                wrong("is told by the leader alone, and narrowed to a process");
            }
            if of_leader && selector.name != BY_PROCESS && !query.expression.contains("max") {
                wrong("is told by the leader alone, and not taken by `max`");
            }
            let whole = of_leader || selector.is_recorded() || query.expression.starts_with("count(");
            if !whole && !by_process {
                wrong("cannot be narrowed to a process");
            }
        }
    }
    refuse("a panel is right with several installations and several processes", &faults);
}

#[test]
fn queries_name_metrics_and_labels_that_exist() {
    let mut faults = Vec::new();
    for query in boards().iter().flat_map(Board::queries) {
        let named = selectors(&query.expression);
        for selector in named.iter().filter(|selector| !selector.is_recorded()) {
            let Some(metric) = selector.metric() else {
                faults.push(format!("{}: there is no `{}`", query.place, selector.name));
                continue;
            };
            let strange = |label: &&str| !metric.labels.contains(label) && !ADDED_LABELS.contains(label);
            for label in selector.labels().into_iter().filter(|label| strange(label)) {
                faults.push(format!("{}: `{}` has no label `{label}`", query.place, selector.name));
            }
        }
        let known = |label: &&str| {
            ADDED_LABELS.contains(label)
                || named.iter().filter_map(|s| s.metric()).any(|metric| metric.labels.contains(label))
        };
        for label in grouped_by(&query.expression).into_iter().filter(|label| !known(label)) {
            faults.push(format!("{}: nothing in it has the label `{label}`", query.place));
        }
    }
    refuse("what is asked for is there", &faults);
}

#[test]
fn every_metric_is_shown() {
    let shown: BTreeSet<&str> = boards()
        .iter()
        .flat_map(Board::queries)
        .flat_map(|query| selectors(&query.expression))
        .filter_map(|selector| selector.metric())
        .map(|metric| metric.name)
        .collect();
    let faults: Vec<String> =
        CATALOG.iter().filter(|m| !shown.contains(m.name)).map(|m| m.name.to_owned()).collect();
    refuse("a figure that nobody can see need not be counted; show these in a dashboard", &faults);
}
