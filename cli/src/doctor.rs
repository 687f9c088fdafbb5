//! `millrace doctor`: what is wrong with the installation, with the remedy of each.

use jobs::config::DatabaseConfig;
use jobs::doctor::{Verdict, examine};

use crate::command::Output;
use crate::table::print;
use crate::{roles, settings};

/// Prints the findings; fails when one of them is bad.
pub(crate) async fn run(output: Output) -> anyhow::Result<()> {
    let (config, keyring) =
        settings::database(|reader| (DatabaseConfig::read(reader), roles::find_keyring(reader)))?;
    let findings = examine(&config, keyring.as_ref()).await;
    let rows: Vec<Vec<String>> = findings
        .iter()
        .map(|finding| {
            let remedy = finding.remedy.as_deref().map(|text| format!("; {text}")).unwrap_or_default();
            vec![
                finding.verdict.as_str().to_owned(),
                finding.check.as_str().to_owned(),
                format!("{}{remedy}", finding.says),
            ]
        })
        .collect();
    print(output, &findings, &["VERDICT", "CHECK", "FINDING"], &rows)?;
    let bad = findings.iter().filter(|finding| finding.verdict == Verdict::Bad).count();
    anyhow::ensure!(bad == 0, "{bad} check(s) failed; the remedies are above");
    Ok(())
}
