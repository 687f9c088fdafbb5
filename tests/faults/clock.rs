//! The fault of clocks that are wrong by five minutes, one worker's ahead and one's behind. Their steady clocks are
//! left alone: a machine whose time is set wrong has one that is right.

use std::path::PathBuf;
use std::time::Duration;

use crate::stage::Stage;

/// Debian's libfaketime, which `.ci/faketime` unpacks into the target folder.
fn library() -> Option<PathBuf> {
    let target = tests::process::binary().parent()?.parent()?.join("faketime/usr/lib");
    let triples = std::fs::read_dir(target).ok()?.flatten();
    triples.map(|triple| triple.path().join("faketime/libfaketime.so.1")).find(|path| path.is_file())
}

/// Why this cannot be played here.
pub(crate) fn missing() -> Option<String> {
    library().is_none().then(|| "libfaketime is not here; `make faults` fetches it from Debian".to_owned())
}

/// Replaces the workers by two with wrong clocks, and those by two with right ones.
pub(crate) async fn skew(stage: &mut Stage<'_>) {
    let library = library().expect("it was looked for");
    for offset in ["+300s", "-300s"] {
        stage.hire_with(|command| {
            command.env("LD_PRELOAD", &library).env("FAKETIME", offset);
            command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("DONT_FAKE_MONOTONIC", "1");
        });
    }
    stage.goes_on().await;
    stage.dismiss(0).await;
    stage.dismiss(0).await;
    let told = stage.hands.iter().map(|hand| hand.process.log()).collect::<Vec<_>>();
    println!("{}", told.iter().filter_map(|log| log.lines().next()).collect::<Vec<_>>().join("\n"));
    stage.goes_on().await;
    tokio::time::sleep(stage.form.pick(Duration::from_secs(3), Duration::from_secs(60))).await;
    stage.hire();
    stage.hire();
    stage.dismiss(0).await;
    stage.dismiss(0).await;
    stage.recovers().await;
}
