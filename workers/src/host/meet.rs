//! Finds out who answers under a host's name, and how: before anything is done there.

use jobs::db::PgPool;
use jobs::host::store;
use rules::machine::{Acquaintance, Errand, Known, Reach};

use super::hold::Hold;
use crate::hypervisor::{HostReport, Standing, Trust};

/// Who answered, and how.
#[derive(Debug)]
pub(super) struct Met {
    /// How the host stands, as whoever serves it must take it.
    pub(super) standing: Standing,
    /// What it has, where it is the host's own hypervisor that answers.
    pub(super) report: Option<HostReport>,
    /// By what another hypervisor says who it is, where one answers instead; empty when it says nothing.
    pub(super) stranger: Option<String>,
}

impl Met {
    /// Nobody was asked: the host stands so.
    pub(super) fn nobody(standing: Standing) -> Self {
        Self { standing, report: None, stranger: None }
    }

    /// Who may be asked to do something under the host's name from now on.
    pub(super) fn trust(&self) -> Trust {
        self.report.as_ref().map_or(Trust::Nobody, |report| Trust::Own(report.identity.clone()))
    }
}

/// Asks what answers under the host's name who it is and what it has.
///
/// # Errors
/// Unavailable when the database does not answer.
pub(super) async fn meet(db: &PgPool, hold: &Hold, standing: &Standing) -> jobs::Result<Met> {
    if standing.reach != Reach::Online {
        return Ok(Met::nobody(standing.clone()));
    }
    let report = match ask(hold).await {
        Ok(report) => report,
        Err(why) => return Ok(Met::nobody(Standing { reach: Reach::Degraded, why })),
    };
    let answers = report.identity.as_deref();
    let mut conn = db.acquire().await?;
    let mut known = store::known(&mut conn, hold.id, answers).await?;
    if let (Some(first), None, None) = (answers, &known.identity, &known.other) {
        // Before anything is done there, and in the database: another host's worker may meet it in this moment.
        if let Some(claim) = hold.claim() {
            store::bind_first(&mut conn, hold.id, &claim, first).await?;
        }
        known = store::known(&mut conn, hold.id, answers).await?;
        if known == Known::default() {
            let why = "the host could not be bound to its hypervisor; trying again".to_owned();
            return Ok(Met::nobody(Standing { reach: Reach::Degraded, why }));
        }
    }
    Ok(match Acquaintance::of(&hold.config.name, &known, answers) {
        Acquaintance::Own => Met { standing: standing.clone(), report: Some(report), stranger: None },
        Acquaintance::Stranger(why) => Met {
            standing: Standing { reach: Reach::Unreachable, why },
            report: None,
            stranger: Some(report.identity.unwrap_or_default()),
        },
    })
}

/// What the host says of itself; otherwise why it says nothing. Given up as soon as it is known not to answer.
async fn ask(hold: &Hold) -> Result<HostReport, String> {
    let mut standing = hold.hypervisor().standing();
    let limit = Errand::Look.awaited_for();
    tokio::select! {
        asked = tokio::time::timeout(limit, hold.hypervisor().report()) => match asked {
            Ok(told) => told.map_err(|error| error.to_string()),
            Err(_) => Err(format!("it did not say within {} s what it has", limit.as_secs())),
        },
        Ok(now) = standing.wait_for(|now| now.reach != Reach::Online) => Err(now.why.clone()),
    }
}
