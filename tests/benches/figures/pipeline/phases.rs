//! Where the time from a document's due moment to libvirt's call goes.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};

use jobs::db::PgPool;
use rules::id::OperationId;
use sqlx::Row;
use uuid::Uuid;

use super::clocked::Act;

/// What an operation passes on its way, in order, as the table names them.
const PHASES: [&str; 4] = ["asked in Postgres", "answered", "claimed", "begun"];

/// When documents were due and answered, by operation.
pub(super) type Documents = HashMap<OperationId, (Instant, Instant)>;

/// Prints at the median and the 99th of a hundred after how long each phase was reached, of these documents.
pub(super) async fn print(db: &PgPool, documents: &Documents, acts: &[Act]) {
    // Postgres runs on this machine, by its clock.
    let (here, clock) = (Instant::now(), SystemTime::now());
    let at = |moment: chrono::DateTime<chrono::Utc>| {
        here.checked_sub(clock.duration_since(moment.into()).unwrap_or_default())
    };
    let operations: Vec<Uuid> = documents.keys().map(|operation| operation.0).collect();
    let rows = sqlx::query(
        "select o.id, o.created_at, h.started_at as claimed_at, o.started_at from machine_operation o
        join job_history h on h.job_id = o.job_id where o.id = any($1)",
    );
    let rows = rows.bind(operations).fetch_all(db).await.unwrap();
    let called: HashMap<OperationId, Instant> = acts.iter().map(|act| (act.operation, act.called)).collect();
    let mut took: [Vec<f64>; 5] = Default::default();
    for row in rows {
        let operation = OperationId(row.get::<Uuid, _>("id"));
        let (due, answered) = documents[&operation];
        let moment = |name: &str| at(row.get(name));
        let reached = [
            moment("created_at"),
            Some(answered),
            moment("claimed_at"),
            moment("started_at"),
            called.get(&operation).copied(),
        ];
        for (took, reached) in took.iter_mut().zip(reached) {
            let after = reached.map(|reached| reached.saturating_duration_since(due));
            took.push(after.unwrap_or(Duration::ZERO).as_secs_f64() * 1_000.0);
        }
    }
    let cells: Vec<String> = PHASES
        .iter()
        .chain(&["called"])
        .zip(&mut took)
        .map(|(phase, took)| {
            took.sort_by(f64::total_cmp);
            let part = |part: f64| {
                took.get((took.len().saturating_sub(1) as f64 * part) as usize).copied().unwrap_or_default()
            };
            format!("{phase} {:.2} / {:.2}", part(0.5), part(0.99))
        })
        .collect();
    println!("\nReached after ms, p50 / p99: {}.\n", cells.join(", "));
}
