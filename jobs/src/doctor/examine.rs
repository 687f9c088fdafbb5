//! Examines one thing after another; what cannot be looked at any more is left out.

use chrono::{DateTime, TimeDelta, Utc};
use rules::seal::Keyring;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, PgPool};

use super::finding::{Check, Finding};
use super::hosts::hosts;
use crate::config::DatabaseConfig;
use crate::db::pooling::{Pooling, pooling};
use crate::db::vitals::vitals;
use crate::db::wall::{self, DbRole};
use crate::db::{CALL_TIMEOUT, SchemaState, connect_options, innermost, plain_options, schema_state};
use crate::lease::{SCHEDULER, holding};
use crate::queue::postgres::partition::days_ahead;
use crate::seal::store::is_anything_sealed;
use crate::seal::{Proof, tried};
use crate::{Code, Error, Result};

/// The oldest Postgres that we know to work, as its version number tells it.
const VERSION_MIN: i32 = 150_000;
/// A difference of clocks from which logins and signatures begin to suffer, in milliseconds.
const SKEW_WARNING_MS: i64 = 2_000;
/// A difference of clocks that breaks them, in milliseconds.
const SKEW_BAD_MS: i64 = 60_000;
/// The age of a transaction from which dead rows pile up, in seconds.
const TRANSACTION_WARNING_S: f64 = 300.0;
/// The age of a transaction that somebody must have forgotten, in seconds.
const TRANSACTION_BAD_S: f64 = 3_600.0;
/// Fewer days of history ahead than this say that nobody makes them.
const DAYS_AHEAD_MIN: i64 = 7;

/// What PgBouncer answers to settings that it was not told to let through.
const SETTINGS_REFUSED: &str = "unsupported startup parameter";

/// Examines an installation, with the keyring that processes get here, if they get one. Never fails: what
/// goes wrong is a finding.
pub async fn examine(config: &DatabaseConfig, keyring: Option<&Keyring>) -> Vec<Finding> {
    let mut findings = Vec::new();
    match open(config, &mut findings).await {
        Ok(options) => examine_through(&options, keyring, &mut findings).await,
        Err(error) => findings.push(Finding::bad(
            Check::Database,
            reason_of(&error),
            "check `DATABASE_URL`, and that Postgres runs and can be reached from here",
        )),
    }
    findings
}

/// The options that let us in: ours, or without our settings where a pooler refuses those.
async fn open(config: &DatabaseConfig, findings: &mut Vec<Finding>) -> Result<PgConnectOptions> {
    let options = connect_options(config)?;
    let refused = match bounded(try_connect(&options)).await {
        Ok(()) => {
            findings.push(Finding::good(Check::Database, "it answers and lets us in"));
            return Ok(options);
        }
        Err(error) if reason_of(&error).contains(SETTINGS_REFUSED) => error,
        Err(error) => return Err(error),
    };
    findings.push(Finding::bad(
        Check::Pooler,
        format!(
            "a pooler refuses the settings that every connection of ours brings: {}",
            reason_of(&refused)
        ),
        "connect to Postgres itself, or set `ignore_startup_parameters` of PgBouncer to `extra_float_digits, options` \
         and `statement_timeout`, `idle_in_transaction_session_timeout` and `jit` for the role instead",
    ));
    let options = plain_options(config)?;
    bounded(try_connect(&options)).await?;
    findings.push(Finding::good(Check::Database, "it answers and lets us in, without our settings"));
    Ok(options)
}

async fn try_connect(options: &PgConnectOptions) -> Result<()> {
    let mut conn = options.connect().await?;
    conn.ping().await?;
    conn.close().await?;
    Ok(())
}

async fn examine_through(options: &PgConnectOptions, keyring: Option<&Keyring>, findings: &mut Vec<Finding>) {
    match bounded(pooling(options)).await {
        Ok(found) => {
            findings.push(pooler(found));
            // Our statements are prepared by name; behind such a pooler none of their answers can be relied on.
            if matches!(found, Pooling::Transaction { prepared: false } | Pooling::Statement) {
                return;
            }
        }
        Err(error) => findings.push(unseen(Check::Pooler, &error)),
    }
    let db = PgPoolOptions::new().max_connections(1).connect_lazy_with(options.clone());
    match bounded(server(&db, findings)).await {
        Ok(()) => {}
        Err(error) => findings.push(unseen(Check::Version, &error)),
    }
    let current = match bounded(schema_state(&db)).await {
        Ok(state) => {
            findings.push(schema(state));
            state.suits()
        }
        Err(error) => {
            findings.push(unseen(Check::Schema, &error));
            false
        }
    };
    if current && let Err(error) = bounded(upkeep(&db, findings)).await {
        findings.push(unseen(Check::Scheduler, &error));
    }
    if current {
        match bounded(served(&db)).await {
            Ok(found) => findings.extend(found),
            Err(error) => findings.push(unseen(Check::Hosts, &error)),
        }
        findings.push(match bounded(roles(&db)).await {
            Ok(finding) => finding,
            Err(error) => unseen(Check::Roles, &error),
        });
        findings.push(match bounded(sealed(&db, keyring)).await {
            Ok(finding) => finding,
            Err(error) => unseen(Check::Keyring, &error),
        });
    }
    db.close().await;
}

async fn server(db: &PgPool, findings: &mut Vec<Finding>) -> Result<()> {
    // In a transaction, which even a pooler keeps on one server.
    let mut conn = crate::db::begin(db).await?;
    let before = Utc::now();
    let seen = vitals(&mut conn).await?;
    let after = Utc::now();
    findings.push(version(seen.version));
    findings.push(clock(skew(before, seen.now, after)));
    findings.push(oldest_transaction(seen.session_age_s, seen.prepared_age_s, seen.sees_all));
    Ok(())
}

async fn upkeep(db: &PgPool, findings: &mut Vec<Finding>) -> Result<()> {
    let mut conn = crate::db::begin(db).await?;
    let leads = holding(&mut conn, SCHEDULER).await?.is_some_and(|h| h.live);
    findings.push(if leads {
        Finding::good(Check::Scheduler, "one leads")
    } else {
        Finding::warning(
            Check::Scheduler,
            "none leads; work goes on, upkeep does not",
            "start `millrace scheduler`, or `millrace up`",
        )
    });
    let days = days_ahead(&mut conn).await?;
    findings.push(if days >= DAYS_AHEAD_MIN {
        Finding::good(Check::History, format!("finished jobs have a place for {days} days ahead"))
    } else {
        Finding::warning(
            Check::History,
            format!("finished jobs have a place for {days} days ahead only"),
            "let a scheduler run; it makes them",
        )
    });
    Ok(())
}

async fn served(db: &PgPool) -> Result<Vec<Finding>> {
    let mut conn = crate::db::begin(db).await?;
    Ok(hosts(&crate::host::store::all(&mut conn).await?))
}

async fn roles(db: &PgPool) -> Result<Finding> {
    let mut conn = crate::db::begin(db).await?;
    for role in DbRole::ALL {
        if !wall::stands(&mut conn, role).await? {
            let (says, remedy) = wall::missing(role);
            return Ok(Finding::warning(Check::Roles, says, remedy));
        }
    }
    Ok(Finding::good(Check::Roles, "the API is held by row policies, and no process needs to own anything"))
}

async fn sealed(db: &PgPool, keyring: Option<&Keyring>) -> Result<Finding> {
    let check = Check::Keyring;
    let mut conn = crate::db::begin(db).await?;
    let Some(keyring) = keyring else {
        return Ok(if is_anything_sealed(&mut conn).await? {
            Finding::warning(
                check,
                "there is none here; processes with the API do not start without the one that sealed",
                "where the API runs, set `KEYRING` or restore the file `secrets` of the first `up`",
            )
        } else {
            Finding::good(check, "nothing is sealed yet")
        });
    };
    Ok(match tried(&mut conn, keyring).await? {
        Proof::Opens => Finding::good(check, "it opens what this installation sealed"),
        Proof::Missing => {
            Finding::good(check, "it was not tried yet; the next start of the API seals a proof")
        }
        Proof::Fails(error) => Finding::bad(
            check,
            format!("it does not open what this installation sealed: {error}"),
            "use the `KEYRING` of the other processes, or restore the file `secrets` of the first `up`",
        ),
    })
}

fn pooler(found: Pooling) -> Finding {
    let check = Check::Pooler;
    match found {
        Pooling::Session => Finding::good(check, "none that shares connections among sessions"),
        Pooling::Transaction { prepared: true } => Finding::warning(
            check,
            "a pooler in transaction mode: LISTEN and session settings do not hold, so wake-ups come by the poll alone, up to 1 s late",
            "connect to Postgres itself, or use the pooler's session mode",
        ),
        Pooling::Transaction { prepared: false } => Finding::bad(
            check,
            "a pooler in transaction mode that breaks prepared statements: calls fail as soon as it moves us to another server; the rest was not examined",
            "connect to Postgres itself, use the pooler's session mode, or set `max_prepared_statements` of PgBouncer 1.21 or newer",
        ),
        Pooling::Statement => Finding::bad(
            check,
            "a pooler in statement mode: there are no transactions behind it; the rest was not examined",
            "connect to Postgres itself, or use the pooler's session mode",
        ),
    }
}

fn version(number: i32) -> Finding {
    let says = format!("Postgres {}.{}", number / 10_000, number % 10_000);
    if number >= VERSION_MIN {
        Finding::good(Check::Version, says)
    } else {
        Finding::bad(Check::Version, says, "use Postgres 15 or newer")
    }
}

fn schema(state: SchemaState) -> Finding {
    match state {
        SchemaState::Current => Finding::good(Check::Schema, "it is the one that this executable knows"),
        SchemaState::Expanded(version) => Finding::good(
            Check::Schema,
            format!("it has migration `{version}` more than this executable knows, and suits it as well"),
        ),
        SchemaState::Behind(missing) => Finding::bad(
            Check::Schema,
            format!("{missing} migration(s) are missing"),
            "run `millrace migrate`",
        ),
        SchemaState::Ahead(version) => Finding::bad(
            Check::Schema,
            format!("it has migration `{version}`, which this executable does not know"),
            "use the newer executable",
        ),
    }
}

/// How far the database's clock is ahead of ours, at least: what the call itself took is given away.
fn skew(before: DateTime<Utc>, database: DateTime<Utc>, after: DateTime<Utc>) -> TimeDelta {
    if database < before {
        database - before
    } else if database > after {
        database - after
    } else {
        TimeDelta::zero()
    }
}

fn clock(skew: TimeDelta) -> Finding {
    let check = Check::Clock;
    let ms = skew.num_milliseconds();
    let remedy = "keep both machines' clocks by NTP";
    let says = format!(
        "the database's clock is {} ms {} ours",
        ms.abs(),
        if ms < 0 { "behind" } else { "ahead of" }
    );
    match ms.abs() {
        0..SKEW_WARNING_MS => Finding::good(check, says),
        SKEW_WARNING_MS..SKEW_BAD_MS => Finding::warning(check, says, remedy),
        _ => Finding::bad(check, says, remedy),
    }
}

fn oldest_transaction(session_s: f64, prepared_s: f64, sees_all: bool) -> Finding {
    let check = Check::OldestTransaction;
    if !sees_all && session_s.max(prepared_s) < TRANSACTION_WARNING_S {
        return Finding::warning(
            check,
            "the login of `DATABASE_URL` cannot see those of others; none of its own is old",
            format!(
                "as a superuser `grant pg_read_all_stats to {}`, or to the login itself while that role is missing",
                DbRole::Worker.name()
            ),
        );
    }
    let (age_s, what, remedy) = if prepared_s > session_s {
        (
            prepared_s,
            "a prepared transaction is",
            "end it: `rollback prepared` what `pg_prepared_xacts` names",
        )
    } else {
        (session_s, "the oldest one is", "find it in `pg_stat_activity` by `xact_start`, and end it")
    };
    let says = format!("{what} {age_s:.0} s old");
    if age_s < TRANSACTION_WARNING_S {
        Finding::good(check, says)
    } else {
        let says = format!("{says}; dead rows cannot be vacuumed while it lasts");
        if age_s < TRANSACTION_BAD_S {
            Finding::warning(check, says, remedy)
        } else {
            Finding::bad(check, says, remedy)
        }
    }
}

fn unseen(check: Check, error: &Error) -> Finding {
    Finding::bad(
        check,
        format!("it cannot be examined: {}", reason_of(error)),
        "mend that first, then ask again",
    )
}

/// The innermost cause, else the message: an operator sees no other log of this.
fn reason_of(error: &Error) -> String {
    innermost(error).unwrap_or_else(|| error.to_string())
}

async fn bounded<T>(call: impl Future<Output = Result<T>>) -> Result<T> {
    match tokio::time::timeout(CALL_TIMEOUT, call).await {
        Ok(result) => result,
        Err(_) => {
            Err(Error::new(Code::Unavailable, format!("no answer within {} s", CALL_TIMEOUT.as_secs())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    #[test]
    fn skew_gives_the_time_of_the_call_away() {
        let at = |ms: i64| DateTime::from_timestamp_millis(ms).unwrap();
        assert_eq!(skew(at(100), at(150), at(200)), TimeDelta::zero());
        assert_eq!(skew(at(100), at(90), at(200)), TimeDelta::milliseconds(-10));
        assert_eq!(skew(at(100), at(230), at(200)), TimeDelta::milliseconds(30));
        assert_eq!(
            clock(TimeDelta::milliseconds(-3_000)).says,
            "the database's clock is 3000 ms behind ours"
        );
    }

    #[test]
    fn verdicts_turn_at_their_bounds() {
        let of = |ms: i64| clock(TimeDelta::milliseconds(ms)).verdict;
        assert_eq!(
            (of(-1_999), of(2_000), of(59_999), of(-60_000)),
            (Verdict::Good, Verdict::Warning, Verdict::Warning, Verdict::Bad)
        );
        let of = |session, prepared| oldest_transaction(session, prepared, true).verdict;
        assert_eq!(
            (of(299.0, 0.0), of(300.0, 0.0), of(0.0, 3_600.0)),
            (Verdict::Good, Verdict::Warning, Verdict::Bad)
        );
        assert_eq!((version(150_000).verdict, version(149_999).verdict), (Verdict::Good, Verdict::Bad));
        assert_eq!(schema(SchemaState::Behind(2)).says, "2 migration(s) are missing");
    }

    #[test]
    fn whatever_is_not_good_has_a_remedy() {
        for finding in [
            pooler(Pooling::Transaction { prepared: true }),
            pooler(Pooling::Transaction { prepared: false }),
            pooler(Pooling::Statement),
            schema(SchemaState::Ahead(9)),
            version(90_000),
            oldest_transaction(9_999.0, 0.0, true),
            oldest_transaction(1.0, 0.0, false),
        ] {
            assert!(finding.verdict != Verdict::Good && finding.remedy.is_some(), "{finding:?}");
        }
    }
}
