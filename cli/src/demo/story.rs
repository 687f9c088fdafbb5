//! The order of events, and what must be true after each.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};

use super::client::Client;
use super::definitions::{self, CHAIN_STEPS};
use super::hold;
use super::machine::machine;
use super::operations::{Log, Tenant};
use super::timeline::Timeline;
use super::worker::Worker;
use crate::home::Home;
use crate::settings::{Settings, is_set};
use crate::table::say;
use crate::{admin, settings};

/// How long what needs no retry may take; generous, for a machine that is busy with a build.
pub(super) const SOON: Duration = Duration::from_secs(20);
/// How long three attempts with their waits may take.
const ATTEMPTS: Duration = Duration::from_secs(60);
/// How long the work of a killed worker may take to be done by others: its leases end after 30 s.
const TAKEN_OVER: Duration = Duration::from_secs(120);
/// Runs started at once, so that the demo's worker has something in hand when it is stopped.
const RUNS: usize = 24;
/// Times that the worker is caught before the demo gives up; each has an even chance at the least.
const CATCHES: usize = 60;

/// `millrace demo`.
pub(crate) async fn run() -> anyhow::Result<()> {
    let time = Timeline::start();
    let address = address()?;
    say(format!("telling the story of http://{address}"));
    let tenant = enter(time, &address).await?;
    if let Some(hold) = hold::up(&tenant.admin).await?.into_iter().find(hold::Hold::lasts) {
        bail!("the story cannot be told: {hold}");
    }
    if let Err(untrue) = tell(time, &tenant).await {
        // What stood still because somebody, or nobody, was at work is no untruth.
        return Err(match hold::up(&tenant.admin).await?.into_iter().next() {
            Some(hold) => untrue.context(hold.to_string()),
            None => untrue,
        });
    }
    tenant.disable().await?;
    say(format!(
        "\nall of it was true; tenant `{}` is switched off again, and `setTenantEnabled` opens it to be looked at",
        tenant.slug
    ));
    Ok(())
}

async fn tell(time: Timeline, tenant: &Tenant) -> anyhow::Result<()> {
    let shop = order(time, tenant).await?;
    repeat(time, tenant, &shop).await?;
    bury_and_redrive(time, tenant).await?;
    machine(time, tenant).await?;
    kill(time, tenant).await
}

/// Where the running system listens: what `up` wrote down, else what the settings say.
fn address() -> anyhow::Result<String> {
    if !is_set("PORT") && !is_set("BIND") {
        let written = std::fs::read_to_string(Home::find()?.address_file());
        if let Ok(address) = written {
            return Ok(address.trim().to_owned());
        }
    }
    let config = settings::Settings::default();
    let bind = config.look_up("BIND").unwrap_or_else(|| api::BIND.to_string());
    let port = config.look_up("PORT").unwrap_or_else(|| api::PORT.to_string());
    Ok(format!("{bind}:{port}"))
}

/// Logs in, and makes a tenant with a key of its own; from there on only the key is used.
async fn enter(time: Timeline, address: &str) -> anyhow::Result<Tenant> {
    time.part("Coming in");
    let password = match std::env::var("ADMIN_PASSWORD") {
        Ok(password) => password,
        Err(_) => {
            let file = Home::find()?.password_file();
            std::fs::read_to_string(&file).map(|text| text.trim().to_owned()).with_context(|| {
                format!(
                    "`{}` has no password to read: no `up` began here; call this in the clone where `make up` runs, \
                     or say the address in `BIND` and `PORT` and the administrator's password in `ADMIN_PASSWORD`",
                    file.display()
                )
            })?
        }
    };
    let email = Settings::default().read(admin::read_email)?;
    let nobody = Client::new(address);
    match nobody.graphql("query { tenants { nodes { id } } }", json!({})).await {
        Ok(_) => bail!("untrue: a stranger is let in"),
        Err(refusal) if refusal.to_string().contains("UNAUTHENTICATED") => {}
        Err(other) => return Err(other),
    }
    let tenant = Tenant::make(&nobody, &email, &password).await?;
    time.tell(format!("logged in, made tenant `{}` and an API key for it", tenant.slug));
    Ok(tenant)
}

/// What later parts need of the shop.
struct Shop {
    listener: String,
    path: String,
    secret: String,
    body: Value,
    delivery: String,
    workflow: String,
}

/// A signed webhook becomes a finished workflow.
async fn order(time: Timeline, tenant: &Tenant) -> anyhow::Result<Shop> {
    time.part("A signed webhook becomes a finished workflow");
    let workflow = tenant.create_workflow("price an order", definitions::order()).await?;
    time.tell("made a workflow: a condition, two ways, a path beside them, a join");
    let made = tenant.create_listener("orders", definitions::orders(&workflow)).await?;
    let shop = Shop {
        path: format!("/hooks/{}/orders", tenant.slug),
        listener: made.id,
        secret: made.secret,
        body: json!({ "data": { "id": "A-1", "cents": 25_000 } }),
        delivery: "msg_demo_1".into(),
        workflow,
    };
    time.tell(format!("made a listener at {}", shop.path));

    let forged = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let (status, _) = tenant.deliver(&shop.path, forged, &shop.delivery, &shop.body).await?;
    ensure!(status == 401, "untrue: a forged signature is refused (it answered {status})");
    ensure!(
        tenant.notices(&shop.listener).await?.is_empty(),
        "untrue: nothing of a forged delivery is stored"
    );
    time.tell("a forged signature: 401, nothing stored");

    let (status, answer) = tenant.deliver(&shop.path, &shop.secret, &shop.delivery, &shop.body).await?;
    ensure!(status == 202, "untrue: a signed delivery is accepted (it answered {status}: {answer})");
    time.tell("a signed delivery: 202");
    let run = time
        .until("the transform runs and the workflow starts", SOON, async || {
            Ok(tenant.notices(&shop.listener).await?.into_iter().find_map(|notice| notice.run))
        })
        .await?;
    time.tell(format!("its transform ran and started run {run}"));
    let ended = ended(time, tenant, &run, SOON).await?;
    let expected = json!({ "order": "A-1", "total": 225, "points": 500 });
    ensure!(ended == expected, "untrue: the run ends with {expected} (it was {ended})");
    let log = tenant.log(&run).await?;
    log.once(&["size", "discount", "points", "bill"])?;
    ensure!(log.completions("full") == 0, "untrue: the branch not taken did not run");
    time.tell(format!("the run ended with {ended}; the branch not taken did not hang the join"));
    Ok(shop)
}

/// The same delivery again changes nothing.
async fn repeat(time: Timeline, tenant: &Tenant, shop: &Shop) -> anyhow::Result<()> {
    time.part("The same delivery again");
    let (status, answer) = tenant.deliver(&shop.path, &shop.secret, &shop.delivery, &shop.body).await?;
    ensure!(
        status == 202 && answer["duplicate"] == true,
        "untrue: a repeat is known as one ({status}: {answer})"
    );
    let (notices, runs) =
        (tenant.notices(&shop.listener).await?.len(), tenant.runs(&shop.workflow).await?.len());
    ensure!((notices, runs) == (1, 1), "untrue: a repeat changes nothing ({notices} notices, {runs} runs)");
    let kept = tenant.buffered(&shop.listener, "orders").await?;
    ensure!(kept == 1, "untrue: a repeat is not kept again ({kept} are in the buffer)");
    time.tell("known as a repeat: still one notice, one run, one event in the buffer");
    Ok(())
}

/// An event that always fails is buried after three attempts, and lives when redriven after a fix.
async fn bury_and_redrive(time: Timeline, tenant: &Tenant) -> anyhow::Result<()> {
    time.part("An event that always fails");
    let made = tenant.create_listener("rates", definitions::broken()).await?;
    let path = format!("/hooks/{}/rates", tenant.slug);
    let (status, _) = tenant.deliver(&path, &made.secret, "msg_demo_2", &json!({ "rate": 7 })).await?;
    ensure!(status == 202, "untrue: it is accepted (it answered {status})");
    time.tell("accepted; its transform throws");
    let dead = time
        .until("it is among the dead letters after its attempts", ATTEMPTS, async || {
            Ok(tenant.dead_letters().await?.into_iter().next())
        })
        .await?;
    ensure!(dead.attempts == 3, "untrue: it was tried 3 times (it was {})", dead.attempts);
    time.tell(format!("dead after {} attempts: {}", dead.attempts, dead.error));
    tenant.update_listener(&made, definitions::mended()).await?;
    tenant.redrive(&dead.id).await?;
    time.tell("transform mended, dead letter redriven");
    time.until("it succeeds", SOON, async || {
        let kept = tenant.buffered(&made.id, "rates").await?;
        Ok((kept == 1 && tenant.dead_letters().await?.is_empty()).then_some(()))
    })
    .await?;
    time.tell("it is in the buffer, and no dead letter is left");
    Ok(())
}

/// A worker is killed in the middle of a step; every run ends, every step once.
async fn kill(time: Timeline, tenant: &Tenant) -> anyhow::Result<()> {
    time.part("A worker is killed in the middle of a step");
    let workflow = tenant.create_workflow("six steps", definitions::chain()).await?;
    let mut worker = Worker::start()?;
    let id = time.until("the worker starts", SOON, async || Ok(worker.id())).await?;
    time.tell(format!("started `millrace worker --pools dag` (pid {}, worker {id})", worker.pid()));
    let mut runs = Vec::new();
    let mut held = Vec::new();
    for _ in 0..CATCHES {
        if runs.is_empty() || all_ended(tenant, &runs).await? {
            for number in 0..RUNS {
                let key = format!("{}-{number}", runs.len());
                runs.push(tenant.execute(&workflow, json!({}), &key).await?);
            }
        }
        worker.freeze()?;
        held = settled_leases(tenant, &id).await?;
        if !held.is_empty() {
            break;
        }
        worker.thaw()?;
        tokio::time::sleep(Duration::from_millis(37)).await;
    }
    ensure!(!held.is_empty(), "the worker could not be caught in the middle of a step; run the demo again");
    worker.kill()?;
    time.tell(format!(
        "SIGKILL while it held {} step(s) of {} runs; their leases have up to 30 s",
        held.len(),
        runs.len()
    ));
    for run in &runs {
        let output = ended(time, tenant, run, TAKEN_OVER).await?;
        ensure!(
            output == json!({ "steps": CHAIN_STEPS }),
            "untrue: run {run} counts each step once ({output})"
        );
        let steps: Vec<String> = (1..=CHAIN_STEPS).map(|step| format!("step{step}")).collect();
        let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
        tenant.log(run).await?.once(&steps).with_context(|| format!("run {run}"))?;
    }
    for job in &held {
        let (state, crashes, by) = tenant.job(job).await?;
        ensure!(
            state == "DONE" && crashes == 1 && by != id,
            "untrue: job {job} was taken over ({state}, {crashes} crashes, done by {by})"
        );
    }
    time.tell("what it held was done by another worker, with one crash counted for each");
    time.tell(format!(
        "all {} runs ended, each of their {CHAIN_STEPS} steps in the log exactly once",
        runs.len()
    ));
    Ok(())
}

/// The leases of a frozen worker, once what it had already sent to Postgres has taken effect.
async fn settled_leases(tenant: &Tenant, worker: &str) -> anyhow::Result<Vec<String>> {
    let mut before = tenant.leases_of(worker).await?;
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = tenant.leases_of(worker).await?;
        if now == before {
            return Ok(now);
        }
        before = now;
    }
}

async fn all_ended(tenant: &Tenant, runs: &[String]) -> anyhow::Result<bool> {
    for run in runs {
        if tenant.run(run).await?.is_live() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The output of a run, once it has completed.
pub(super) async fn ended(
    time: Timeline,
    tenant: &Tenant,
    run: &str,
    limit: Duration,
) -> anyhow::Result<Value> {
    let found = time
        .until(&format!("run {run} ends"), limit, async || {
            Ok(Some(tenant.run(run).await?).filter(|run| !run.is_live()))
        })
        .await?;
    ensure!(
        found.status == "COMPLETED",
        "untrue: run {run} completes (it is {}: {})",
        found.status,
        found.error.unwrap_or_default()
    );
    Ok(found.output)
}

impl Log {
    /// Refuses unless each of these nodes completed exactly once.
    pub(super) fn once(&self, nodes: &[&str]) -> anyhow::Result<()> {
        let counts: BTreeMap<&str, usize> =
            nodes.iter().map(|node| (*node, self.completions(node))).collect();
        let wrong: Vec<String> = counts
            .iter()
            .filter(|(_, count)| **count != 1)
            .map(|(node, count)| format!("`{node}` {count} times"))
            .collect();
        ensure!(wrong.is_empty(), "untrue: each step's effect is there exactly once ({})", wrong.join(", "));
        Ok(())
    }
}
