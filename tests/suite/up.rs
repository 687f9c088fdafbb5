//! `millrace up` and the operator's commands as processes: start, refuse, survive, stop.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use rules::signature::{Headers, Secret, verify};
use rustix::process::{Pid, Signal, kill_process};
use tests::{Database, Millrace, process};

/// How long a drain may take: nothing is running in these tests.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// A folder for `up`, below one that the cluster's user may enter, as a clone would be.
fn home() -> (tempfile::TempDir, String) {
    let folder = tempfile::Builder::new().prefix("millrace-up-").tempdir_in("/tmp").unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o711);
    std::fs::set_permissions(folder.path(), open).unwrap();
    let home = folder.path().join("home").to_str().unwrap().to_owned();
    (folder, home)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn up_refuses_a_second_one_survives_a_kill_and_stops_its_cluster() {
    let (_folder, home) = home();
    let variables = [("MILLRACE_HOME", home.as_str()), ("PORT", "0")];

    let mut first = Millrace::start(&["up"], &variables);
    first.printed("millrace is up").await;
    let secrets = std::fs::read_to_string(format!("{home}/secrets")).unwrap();
    let password = std::fs::read_to_string(format!("{home}/admin-password")).unwrap();
    assert!(first.log().contains(password.trim()), "the first start tells the password");
    // As root the cluster is another user's, who passes through the folder and may not list it.
    let own = if rustix::process::geteuid().is_root() { 0o711 } else { 0o700 };
    let modes = [("", own), ("/pg", 0o700), ("/log", 0o700), ("/secrets", 0o600), ("/admin-password", 0o600)];
    for (name, mode) in modes {
        let found = std::fs::metadata(format!("{home}{name}")).unwrap().permissions().mode() & 0o777;
        assert_eq!(found, mode, "`{name}` has mode {found:o}");
    }

    let second = process::run(&["up"], &variables);
    assert_eq!(second.status.code(), Some(1));
    let refusal = text(&second.stderr);
    assert!(refusal.contains(&format!("pid {}", first.pid())) && refusal.contains("make down"), "{refusal}");

    first.kill();
    let mut third = Millrace::start(&["up"], &variables);
    third.printed("found running").await;
    third.printed("millrace is up").await;
    assert_eq!(std::fs::read_to_string(format!("{home}/secrets")).unwrap(), secrets);
    assert!(!third.log().contains(password.trim()), "no later start tells it");

    // Of the API's connections and of the workers'.
    let at = std::fs::read_to_string(format!("{home}/address")).unwrap().trim().parse().unwrap();
    let figures = tests::http::send(at, "GET", "/metrics", &[], b"").await.text;
    assert!(figures.contains("millrace_db_pool_connections{state=\"max\"} 32"), "{figures}");

    let queues = process::run(&["queue", "list", "--json"], &variables);
    assert!(queues.status.success(), "{}", text(&queues.stderr));
    let queues: serde_json::Value = serde_json::from_slice(&queues.stdout).unwrap();
    assert!(queues.as_array().unwrap().len() >= 4, "{queues}");

    assert!(third.stop(STOP_LIMIT).await.success(), "{}", third.log());
    let down = process::run(&["down"], &variables);
    assert!(text(&down.stdout).contains("nothing runs"), "{}", text(&down.stdout));

    // What a process that dies in the middle of a write leaves goes as well.
    for draft in ["secrets.new", "address.new", "admin-password.new", "admin-password.draft"] {
        std::fs::write(format!("{home}/{draft}"), "").unwrap();
    }
    let reset = process::run(&["reset", "--yes"], &variables);
    assert!(reset.status.success(), "{}", text(&reset.stderr));
    assert!(!std::path::Path::new(&home).exists());
}

#[tokio::test]
async fn a_postgres_that_dies_under_up_is_started_again() {
    let (_folder, home) = home();
    let variables = [("MILLRACE_HOME", home.as_str()), ("PORT", "0")];
    let mut up = Millrace::start(&["up"], &variables);
    up.printed("millrace is up").await;
    let file = std::fs::read_to_string(format!("{home}/pg/postmaster.pid")).unwrap();
    let pid = file.lines().next().and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
    up.printed("postgres runs again").await;
    let queues = process::run(&["queue", "list"], &variables);
    assert!(queues.status.success(), "{}", text(&queues.stderr));
    assert!(up.stop(STOP_LIMIT).await.success(), "{}", up.log());
}

#[tokio::test]
async fn down_stops_a_running_up_and_the_cluster_of_a_killed_one() {
    let (_folder, home) = home();
    let variables = [("MILLRACE_HOME", home.as_str()), ("PORT", "0")];
    let mut up = Millrace::start(&["up"], &variables);
    up.printed("millrace is up").await;
    let down = process::run(&["down"], &variables);
    assert!(down.status.success(), "{}", text(&down.stderr));
    assert!(up.ended(STOP_LIMIT).await.success(), "{}", up.log());

    let mut up = Millrace::start(&["up"], &variables);
    up.printed("millrace is up").await;
    up.kill();
    let down = process::run(&["down"], &variables);
    assert!(text(&down.stdout).contains("stopped Postgres"), "{}", text(&down.stdout));
}

#[tokio::test]
async fn up_works_on_a_named_database_as_a_role_that_is_no_superuser() {
    let (_folder, home) = home();
    let database = Database::empty().await;
    let variables = [("MILLRACE_HOME", home.as_str()), ("PORT", "0"), ("DATABASE_URL", database.url())];
    let mut up = Millrace::start(&["up"], &variables);
    up.printed("millrace is up").await;
    assert!(!std::path::Path::new(&format!("{home}/pg")).exists());

    let second = process::run(&["up"], &variables);
    assert_eq!(second.status.code(), Some(1));
    let told = text(&second.stderr);
    assert!(told.contains(&format!("pid {}", up.pid())), "{told}");
    // What is wrong with the settings is not hidden behind that.
    let second = process::run(&["up"], &[variables[0], variables[2], ("PORT", "99999")]);
    assert_eq!(second.status.code(), Some(2));
    let told = text(&second.stderr);
    assert!(told.contains("between 0 and 65535"), "{told}");

    up.signal(Signal::INT);
    assert!(up.ended(STOP_LIMIT).await.success(), "{}", up.log());
}

#[test]
fn every_fault_of_the_configuration_is_told_at_once() {
    let (_folder, home) = home();
    let run = process::run(
        &["up"],
        &[
            ("MILLRACE_HOME", home.as_str()),
            ("PORT", "70000"),
            ("BIND", "everywhere"),
            ("DATABASE_CONNECTIONS", "0"),
            ("WORKER_SLOTS", "many"),
            ("KEYRING", "k1"),
            ("ADMIN_EMAIL", "nobody"),
            ("DATABASE_URL", "mysql://somewhere"),
        ],
    );
    assert_eq!(run.status.code(), Some(2));
    let told = text(&run.stderr);
    for name in
        ["PORT", "BIND", "DATABASE_CONNECTIONS", "WORKER_SLOTS", "KEYRING", "ADMIN_EMAIL", "DATABASE_URL"]
    {
        assert!(told.contains(&format!("`{name}`")), "{told}");
    }
    assert!(!std::path::Path::new(&format!("{home}/pg")).exists(), "nothing is started");
}

#[tokio::test]
async fn a_database_that_was_expanded_is_worked_on_and_one_too_new_is_refused() {
    let database = Database::new().await;
    let mut connection = database.connect().await;
    sqlx::query(
        "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
         values (9999, 'from the future', true, '', 0)",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    let (_folder, home) = home();
    let run = |arguments: &[&str]| {
        let variables = [("DATABASE_URL", database.url()), ("MILLRACE_HOME", home.as_str()), ("PORT", "0")];
        process::run(arguments, &variables)
    };
    for arguments in [&["migrate"][..], &["job", "list"]] {
        let run = run(arguments);
        assert!(run.status.success(), "{arguments:?}: {}", text(&run.stderr));
    }
    // What a migration says that takes something away.
    sqlx::query("create or replace function schema_floor() returns bigint language sql immutable as $$ select 9999::bigint $$")
        .execute(&mut connection)
        .await
        .unwrap();
    for arguments in [&["up"][..], &["worker", "--pools", "dag"], &["migrate"], &["job", "list"]] {
        let run = run(arguments);
        assert_eq!(run.status.code(), Some(1), "{arguments:?}: {}", text(&run.stderr));
        assert!(text(&run.stderr).contains("`9999`"), "{arguments:?}: {}", text(&run.stderr));
    }
}

#[test]
fn a_signed_webhook_verifies() {
    let secret = Secret::encode(&[7; 32]);
    let secret = secrecy::ExposeSecret::expose_secret(&secret);
    let body = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(body.path(), br#"{"a":1}"#).unwrap();
    let signed = process::run(
        &["webhook", "sign", "--id", "msg_1", "--timestamp", "1700000000", body.path().to_str().unwrap()],
        &[("WEBHOOK_SECRET", secret)],
    );
    let printed = text(&signed.stdout);
    let header =
        |name: &str| printed.lines().find_map(|l| l.strip_prefix(&format!("{name}: "))).map(str::to_owned);
    let (id, timestamp, signature) =
        (header("webhook-id"), header("webhook-timestamp"), header("webhook-signature"));
    let headers =
        Headers { id: id.as_deref(), timestamp: timestamp.as_deref(), signature: signature.as_deref() };
    let secret = Secret::decode(secret).unwrap();
    assert_eq!(verify(&[secret], &headers, br#"{"a":1}"#, 1_700_000_010), Ok("msg_1"));
}

#[test]
fn what_cannot_be_signed_or_found_ends_with_the_code_of_a_wrong_configuration() {
    let (_folder, home) = home();
    let nowhere = [("MILLRACE_HOME", home.as_str()), ("WEBHOOK_SECRET", "whsec_!")];
    for (arguments, says) in [
        (&["webhook", "sign", "/dev/null"][..], "`WEBHOOK_SECRET`"),
        (&["job", "list"], "`DATABASE_URL` is not set"),
    ] {
        let run = process::run(arguments, &nowhere);
        assert_eq!(run.status.code(), Some(2), "{arguments:?}");
        assert!(text(&run.stderr).contains(says), "{}", text(&run.stderr));
    }
    let run = process::run(&["webhook", "sign", "/dev/null"], &nowhere[..1]);
    assert_eq!(run.status.code(), Some(2));
    assert!(text(&run.stderr).contains("set `WEBHOOK_SECRET`"), "{}", text(&run.stderr));
}

#[tokio::test]
async fn a_refusal_of_postgres_is_named_with_its_remedy() {
    let database = Database::empty().await;
    let (before, query) = database.url().split_once('?').unwrap_or((database.url(), ""));
    let server = before.rsplit_once('/').unwrap().0;
    let gone = format!("{server}/nowhere_at_all?{query}");
    let (_folder, home) = home();
    for arguments in [&["worker", "--pools", "dag"][..], &["job", "list"]] {
        let run =
            process::run(arguments, &[("DATABASE_URL", gone.as_str()), ("MILLRACE_HOME", home.as_str())]);
        let told = text(&run.stderr);
        assert_eq!(run.status.code(), Some(1), "{told}");
        assert!(told.contains("does not exist; create it") && !told.contains("server's log"), "{told}");
    }
    let seen =
        process::run(&["doctor"], &[("DATABASE_URL", gone.as_str()), ("MILLRACE_HOME", home.as_str())]);
    let told = text(&seen.stdout);
    assert!(told.contains("does not exist") && !told.contains("at line"), "{told}");
}

#[test]
fn nobody_at_the_other_end_of_the_pipe_changes_no_exit_code() {
    let (_folder, home) = home();
    let mut command = process::command(&["job", "list"]);
    command.env("MILLRACE_HOME", &home).stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stderr.take());
    assert_eq!(child.wait().unwrap().code(), Some(2));
}

#[test]
fn down_and_reset_in_a_clone_that_was_never_built_compile_nothing() {
    let clone = tempfile::tempdir().unwrap();
    let makefile = concat!(env!("CARGO_MANIFEST_DIR"), "/../Makefile");
    for target in ["down", "reset"] {
        let run = std::process::Command::new("make")
            .args(["-f", makefile, target])
            .current_dir(clone.path())
            .env_remove("MILLRACE_HOME")
            .env_remove("CARGO_TARGET_DIR")
            .env_remove("MAKEFLAGS")
            .output()
            .unwrap();
        assert!(run.status.success(), "{}", text(&run.stderr));
        assert!(text(&run.stdout).contains("no `up` began"), "{}", text(&run.stdout));
    }
}
