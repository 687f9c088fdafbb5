//! Holds the runbook to the alerts and panels that lead to it.

use std::collections::BTreeSet;
use std::fs;

use super::board::{boards, folder, list, word};
use super::rules::alerts;

/// What every page of the runbook answers.
const PARTS: [&str; 3] = ["**Means.** ", "**Look.** ", "**Do.** "];

fn runbook() -> String {
    fs::read_to_string(folder().join("../docs/RUNBOOK.md")).unwrap()
}

/// A heading as the address of its place, as those who show Markdown make it.
fn anchor(heading: &str) -> String {
    let kept = |c: char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    heading.to_lowercase().chars().filter(|c| kept(*c)).collect::<String>().replace(' ', "-")
}

/// The pages, as anchor and text.
fn pages() -> Vec<(String, String)> {
    let text = runbook();
    let pages = text.split("\n## ").skip(1);
    pages.map(|page| (anchor(page.lines().next().unwrap_or("")), page.to_owned())).collect()
}

#[test]
fn every_alert_and_every_link_of_a_panel_leads_to_a_page() {
    let pages: BTreeSet<String> = pages().into_iter().map(|(anchor, _)| anchor).collect();
    let mut asked = Vec::new();
    for (name, block) in alerts() {
        let address = block.lines().find_map(|l| l.strip_prefix("runbook_url: docs/RUNBOOK.md#"));
        asked.push((name, address.unwrap_or("").to_owned()));
    }
    for board in boards() {
        for panel in board.panels() {
            for link in list(panel, "/links") {
                let address = word(link, "/url").strip_prefix("${runbook}#").unwrap_or("");
                asked.push((board.place(panel), address.to_owned()));
            }
        }
    }
    let lost: Vec<_> = asked.iter().filter(|(_, address)| !pages.contains(address)).collect();
    assert!(lost.is_empty(), "these lead nowhere in docs/RUNBOOK.md: {lost:#?}\nthere are {pages:#?}");
    let alerts: BTreeSet<String> = asked.into_iter().map(|(_, address)| address).collect();
    let forgotten: Vec<_> = pages.difference(&alerts).collect();
    assert!(forgotten.is_empty(), "nothing leads to {forgotten:?}");
}

#[test]
fn every_page_says_what_it_means_what_to_look_at_and_what_to_do() {
    for (anchor, page) in pages() {
        for part in PARTS {
            assert!(page.contains(&format!("\n{part}")), "docs/RUNBOOK.md#{anchor} has no `{part}`");
        }
        let names = page.lines().nth(2).unwrap_or("");
        let known: Vec<String> = alerts()
            .into_iter()
            .filter(|(_, block)| block.contains(&format!("docs/RUNBOOK.md#{anchor}\n")))
            .map(|(name, _)| format!("`{name}`"))
            .collect();
        assert_eq!(names, known.join(", "), "docs/RUNBOOK.md#{anchor} names its alerts under its heading");
    }
}
