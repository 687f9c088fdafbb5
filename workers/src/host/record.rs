//! Begins and ends operations in the database, those of all hosts of the process together: what is asked at
//! once is one call and one commit.

use std::time::{Duration, Instant};

use futures::FutureExt;
use jobs::Result;
use jobs::awaited;
use jobs::db::PgPool;
use jobs::machine::listing::Recorded;
use jobs::machine::listing::store::recorded_of;
use jobs::machine::report::store::{self, Settled};
use jobs::machine::report::{Beginning, Begun, Ending};
use jobs::queue::Wake;
use rules::id::OperationId;
use uuid::Uuid;

use crate::gather::Gather;

/// How far apart the machines of which hosts tell something are read: one act makes several events, and of many
/// hosts each would be a statement of its own.
const READ_APART: Duration = Duration::from_millis(50);

/// For how long a machine that somebody holds is asked for again and again, and how far apart: who holds one asks
/// something of it, which takes a few milliseconds.
const HELD_FOR: Duration = Duration::from_secs(5);
const FIRST_WAIT: Duration = Duration::from_millis(2);
const LONGEST_WAIT: Duration = Duration::from_millis(100);

/// What operations come to, and what is recorded of machines.
#[derive(Debug)]
pub(crate) struct Record {
    begin: Gather<Beginning, Begun>,
    end: Gather<Ending, Settled>,
    recorded: Gather<Uuid, Option<Recorded>>,
}

impl Record {
    /// Begins to write for whoever asks.
    pub(crate) fn start(db: &PgPool, wake: &Wake) -> Self {
        let (db_begin, db_end, db_read) = (db.clone(), db.clone(), db.clone());
        let (at_begin, wake) = (wake.clone(), wake.clone());
        Self {
            begin: Gather::start(Duration::ZERO, move |asked| {
                begin(db_begin.clone(), at_begin.clone(), asked).boxed()
            }),
            end: Gather::start(Duration::ZERO, move |asked| end(db_end.clone(), wake.clone(), asked).boxed()),
            recorded: Gather::start(READ_APART, move |asked| recorded(db_read.clone(), asked).boxed()),
        }
    }

    /// Begins an operation. [`Begun::Busy`] only where its machine is held for longer than [`HELD_FOR`].
    ///
    /// # Errors
    /// Unavailable when nobody answers.
    pub(crate) async fn begin(&self, beginning: Beginning) -> Result<Begun> {
        let mut wait = FIRST_WAIT;
        let since = Instant::now();
        loop {
            match self.begin.ask(beginning.clone()).await? {
                Begun::Busy if since.elapsed() < HELD_FOR => tokio::time::sleep(wait).await,
                begun => return Ok(begun),
            }
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// Ends an operation, and tells those who wait for it. False when another took its place or the host is
    /// another's: nothing was written.
    ///
    /// # Errors
    /// Unavailable when nobody answers; it may have been written all the same.
    pub(crate) async fn end(&self, ending: Ending) -> Result<bool> {
        let mut wait = FIRST_WAIT;
        let since = Instant::now();
        loop {
            let settled = self.end.ask(ending.clone()).await?;
            if !settled.busy || since.elapsed() >= HELD_FOR {
                return Ok(settled.ended);
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// What is recorded of a machine; none of one that is destroyed or not known.
    ///
    /// # Errors
    /// Unavailable when nobody answers.
    pub(crate) async fn of(&self, machine: Uuid) -> Result<Option<Recorded>> {
        self.recorded.ask(machine).await
    }
}

async fn begin(db: PgPool, wake: Wake, beginnings: Vec<Beginning>) -> Result<Vec<Begun>> {
    let mut conn = db.acquire().await?;
    let begun = store::begin(&mut conn, &beginnings).await?;
    wake.stir();
    Ok(begun)
}

async fn end(db: PgPool, wake: Wake, endings: Vec<Ending>) -> Result<Vec<Settled>> {
    let mut tx = jobs::db::begin(&db).await?;
    let settled = store::settle(&mut tx, &endings).await?;
    let awaited = endings.iter().zip(&settled).filter(|(_, settled)| settled.awaited);
    let awaited: Vec<OperationId> = awaited.map(|(ending, _)| ending.operation).collect();
    let told =
        if awaited.is_empty() { Vec::new() } else { awaited::operations_ended(&mut tx, &awaited).await? };
    tx.commit().await?;
    wake.stir();
    wake.send(&told);
    Ok(settled)
}

async fn recorded(db: PgPool, machines: Vec<Uuid>) -> Result<Vec<Option<Recorded>>> {
    let mut conn = db.acquire().await?;
    let known = recorded_of(&mut conn, &machines).await?;
    Ok(machines.iter().map(|id| known.iter().find(|known| known.machine.0 == *id).cloned()).collect())
}
