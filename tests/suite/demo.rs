//! The demo, told on a running system: the whole way from a webhook to a finished workflow.

use std::time::Duration;

use tests::{Millrace, process};

/// How long the story may take: a killed worker's leases alone have half a minute.
const STORY_LIMIT: Duration = Duration::from_secs(240);

pub(crate) async fn the_story_is_true() {
    let folder = tempfile::Builder::new().prefix("millrace-demo-").tempdir_in("/tmp").unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o711);
    std::fs::set_permissions(folder.path(), open).unwrap();
    let home = folder.path().join("home").to_str().unwrap().to_owned();
    let mut up = Millrace::start(&["up"], &[("MILLRACE_HOME", &home), ("PORT", "0")]);
    up.printed("millrace is up").await;

    // With a queue at rest the story would wait for ever, and is told so before it begins.
    let here = [("MILLRACE_HOME", home.as_str())];
    assert!(process::run(&["queue", "pause", "listener"], &here).status.success());
    let held = process::run(&["demo"], &here);
    let told = String::from_utf8(held.stderr).unwrap();
    assert_eq!(held.status.code(), Some(1), "{told}");
    assert!(told.contains("queue `listener` is paused by"), "{told}");
    assert!(told.contains("`millrace queue resume listener` lets it go on"), "{told}");
    assert!(process::run(&["queue", "resume", "listener"], &here).status.success());

    let mut demo = Millrace::start(&["demo"], &here);
    let ended = demo.ended(STORY_LIMIT).await;
    assert!(ended.success(), "{}\n---- up ----\n{}", demo.log(), up.log());
    assert!(demo.log().contains("all of it was true"), "{}", demo.log());
    eprintln!("{}", demo.log());

    assert!(up.stop(Duration::from_secs(60)).await.success(), "{}", up.log());
}
