//! `millrace audit`: look at entries, hand them out, and verify the chains.

use jobs::audit::look::{self, Filter};
use jobs::audit::{Verdict, verify};
use jobs::db::PgPool;
use rules::audit::{Fault, Head, INSTALLATION, Link, hex_of};
use rules::id::TenantId;
use serde_json::{Value, json};

use super::Audit;
use super::command::Which;
use crate::command::Output;
use crate::settings;
use crate::table::{cell, print, say, time};

/// The entries that an export reads at once.
const BATCH: i64 = 500;

pub(crate) async fn run(command: Audit) -> anyhow::Result<()> {
    let db = settings::operator().await?;
    match command {
        Audit::List { which, before, limit, output } => list(&db, &which, before, limit, output).await?,
        Audit::Export { which, after } => export(&db, &which, after).await?,
        Audit::Verify { tenant, head, output } => return verify_all(&db, tenant, head, output).await,
    }
    Ok(())
}

impl Which {
    fn filter(&self) -> Filter<'_> {
        Filter {
            actor: self.actor.as_deref(),
            operation: self.operation.as_deref(),
            outcome: self.outcome,
            request_id: self.request.as_deref(),
            since: self.since,
            until: self.until,
        }
    }

    /// Whether an entry is asked for, as the list's statement decides it.
    fn takes(&self, link: &Link) -> bool {
        let entry = &link.entry;
        let same = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|wanted| wanted == is);
        same(&self.actor, &entry.actor)
            && same(&self.operation, &entry.operation)
            && self.outcome.is_none_or(|wanted| wanted == entry.outcome)
            && self.request.as_ref().is_none_or(|wanted| Some(wanted) == entry.request_id.as_ref())
            && self.since.is_none_or(|since| entry.at >= since)
            && self.until.is_none_or(|until| entry.at < until)
    }
}

async fn list(
    db: &PgPool,
    which: &Which,
    before: Option<i64>,
    limit: i64,
    output: Output,
) -> jobs::Result<()> {
    let tenant = which.tenant.unwrap_or(INSTALLATION);
    let mut conn = db.acquire().await?;
    let links = look::entries(&mut conn, tenant, &which.filter(), before, limit).await?;
    let rows: Vec<Vec<String>> = links
        .iter()
        .map(|link| {
            let entry = &link.entry;
            vec![
                link.seq.to_string(),
                time(entry.at),
                entry.actor.clone(),
                entry.operation.clone(),
                entry.outcome.as_str().to_lowercase(),
                cell(entry.code.as_deref()),
                format!("{} ms", entry.took_ms),
                cell(entry.address.as_deref()),
            ]
        })
        .collect();
    let json: Vec<Value> = links.iter().map(shown).collect();
    print(output, &json, &["NUMBER", "AT", "ACTOR", "OPERATION", "OUTCOME", "CODE", "TOOK", "ADDRESS"], &rows)
}

/// An entry for programs, with all that its hash is made of.
fn shown(link: &Link) -> Value {
    let entry = &link.entry;
    json!({
        "tenant": entry.tenant, "number": link.seq, "kept_at": link.kept_at, "at": entry.at, "actor": entry.actor,
        "operation": entry.operation, "arguments": serde_json::from_str::<Value>(&entry.arguments).unwrap_or_default(),
        "outcome": entry.outcome, "code": entry.code, "took_ms": entry.took_ms, "address": entry.address,
        "request_id": entry.request_id, "hash": hex_of(&link.hash),
    })
}

async fn export(db: &PgPool, which: &Which, mut after: i64) -> jobs::Result<()> {
    let tenant = which.tenant.unwrap_or(INSTALLATION);
    loop {
        let links = look::links(&mut *db.acquire().await?, tenant, after, BATCH).await?;
        let Some((last, _)) = links.last() else { return Ok(()) };
        after = *last;
        for (seq, link) in &links {
            match link {
                Some(link) if which.takes(link) => say(shown(link)),
                Some(_) => {}
                None => {
                    return Err(jobs::Error::conflict(format!(
                        "entry {seq} does not read back; `millrace audit verify --tenant {tenant}` tells more"
                    )));
                }
            }
        }
    }
}

async fn verify_all(
    db: &PgPool,
    tenant: Option<TenantId>,
    head: Option<Head>,
    output: Output,
) -> anyhow::Result<()> {
    let tenants = match tenant {
        Some(tenant) => vec![tenant],
        None => look::tenants(&mut *db.acquire().await.map_err(jobs::Error::from)?).await?,
    };
    let mut verdicts: Vec<(TenantId, Verdict)> = Vec::new();
    for tenant in tenants {
        verdicts.push((tenant, verify(db, tenant, head).await?));
    }
    let name =
        |tenant: &TenantId| if *tenant == INSTALLATION { "installation".into() } else { tenant.to_string() };
    let told = |v: &Verdict| v.broken.map(|b| format!("entry {} {}", b.seq, b.fault));
    let rows: Vec<Vec<String>> = verdicts
        .iter()
        .map(|(tenant, v)| {
            vec![
                name(tenant),
                v.entries.to_string(),
                told(v).unwrap_or_else(|| "holds".into()),
                v.head.to_string(),
            ]
        })
        .collect();
    let json: Vec<Value> = verdicts
        .iter()
        .map(|(tenant, v)| {
            json!({ "tenant": tenant, "entries": v.entries, "end": v.head.to_string(), "holds": v.broken.is_none(),
                "broken": v.broken.map(|b| json!({ "number": b.seq, "fault": b.fault.to_string() })) })
        })
        .collect();
    print(output, &json, &["TENANT", "ENTRIES", "CHAIN", "END"], &rows)?;
    let Some((tenant, broken)) = verdicts.iter().find_map(|(tenant, v)| Some((name(tenant), v.broken?)))
    else {
        return Ok(());
    };
    let (what, remedy) = match broken.fault {
        Fault::BeforeKept => {
            ("cannot be compared", "give a later end, or compare it with a backup or an export")
        }
        _ => ("is broken", "compare it with a backup or an export"),
    };
    let told = format!("the audit of `{tenant}` {what}: entry {} {}; {remedy}", broken.seq, broken.fault);
    Err(jobs::Error::conflict(told).into())
}
