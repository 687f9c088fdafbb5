//! `millrace queue`: look at queues, pause and resume them.

use chrono::Utc;
use jobs::queue::Wake;
use jobs::queue::postgres::{control, count};
use jobs::queue::wake::Hint;
use serde_json::json;

use crate::command::{Output, Queue};
use crate::table::{cell, print, print_said, time};
use crate::{audit, settings};

pub(crate) async fn run(command: Queue) -> anyhow::Result<()> {
    let db = settings::operator().await?;
    match command {
        Queue::List { output } => {
            list(&mut *db.acquire().await.map_err(jobs::Error::from)?, output).await?;
        }
        Queue::Pause { name, output } => {
            let mut tx = jobs::db::begin(&db).await?;
            control::pause(&mut tx, &name, &audit::operator()).await?;
            audit::note(&mut tx, None, "cli.queue.pause", &json!({ "name": name })).await?;
            tx.commit().await.map_err(jobs::Error::from)?;
            let said = format!("`{name}` is paused; `millrace queue resume {name}` lets it go on");
            print_said(output, &json!({ "name": name, "paused": true }), &said)?;
        }
        Queue::Resume { name, output } => {
            let mut tx = jobs::db::begin(&db).await?;
            control::resume(&mut tx, &name).await?;
            audit::note(&mut tx, None, "cli.queue.resume", &json!({ "name": name })).await?;
            tx.commit().await.map_err(jobs::Error::from)?;
            Wake::tell(&db, Hint::Resumed).await;
            print_said(output, &json!({ "name": name, "paused": false }), &format!("`{name}` goes on"))?;
        }
    }
    Ok(())
}

async fn list(conn: &mut jobs::db::PgConnection, output: Output) -> jobs::Result<()> {
    let queues = count::queues(conn).await?;
    let now = Utc::now();
    let age = |q: &count::QueueDepth| q.oldest_ready_at.map(|at| (now - at).num_seconds().max(0));
    let rows: Vec<Vec<String>> = queues
        .iter()
        .map(|q| {
            vec![
                q.name.clone(),
                q.pool.clone(),
                q.workers.to_string(),
                cell(q.silent_s.map(|s| format!("{s} s"))),
                q.ready.to_string(),
                q.scheduled.to_string(),
                q.blocked.to_string(),
                q.leased.to_string(),
                q.dead.to_string(),
                cell(age(q).map(|s| format!("{s} s"))),
                match (q.paused_at, &q.paused_by) {
                    (Some(at), by) => format!("paused {} by {}", time(at), by.as_deref().unwrap_or("-")),
                    (None, _) if q.workers == 0 => "no worker".into(),
                    (None, _) => "open".into(),
                },
            ]
        })
        .collect();
    let json: Vec<_> = queues
        .iter()
        .map(|q| {
            json!({
                "name": q.name, "pool": q.pool, "workers": q.workers, "silent_s": q.silent_s, "ready": q.ready,
                "scheduled": q.scheduled, "blocked": q.blocked, "leased": q.leased, "dead": q.dead,
                "oldest_ready_s": age(q), "paused_at": q.paused_at, "paused_by": q.paused_by,
            })
        })
        .collect();
    let head = [
        "QUEUE",
        "POOL",
        "WORKERS",
        "SILENT",
        "READY",
        "SCHEDULED",
        "BLOCKED",
        "LEASED",
        "DEAD",
        "OLDEST",
        "STATE",
    ];
    print(output, &json, &head, &rows)
}
