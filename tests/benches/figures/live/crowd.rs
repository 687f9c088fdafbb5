//! Those who listen: each over a WebSocket of its own, and some who read nothing.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::iter;
use tests::{Talk, wait};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::stage::{NAME, Stage};

/// How many connect at once. One address may have 64 that have not said who they are.
const AT_ONCE: usize = 32;

/// How long all may take to hear of the last event.
const HEARD_WITHIN: Duration = Duration::from_secs(60);

const HEAR: &str =
    "subscription($t: ID, $id: ID!) { departmentEvents(tenant: $t, id: $id) { cursor topic name at data } }";

/// Which events one heard, and when.
type Heard = Arc<Mutex<Vec<(usize, Instant)>>>;

/// All who listen.
pub(super) struct Crowd {
    ears: Vec<Ear>,
}

/// One who listens.
struct Ear {
    heard: Heard,
    to: UnboundedSender<Uuid>,
    task: JoinHandle<()>,
}

impl Ear {
    fn open(mut talk: Talk, tenant: serde_json::Value) -> Self {
        let (to, mut others) = unbounded_channel::<Uuid>();
        let heard = Heard::default();
        let ours = Arc::clone(&heard);
        let task = tokio::spawn(async move {
            let mut listens = 0;
            loop {
                tokio::select! {
                    text = talk.text() => {
                        let Some(text) = text else { return };
                        if let Some((_, rest)) = text.split_once(NAME) {
                            let at = Instant::now();
                            let number = rest.split('"').next().and_then(|number| number.parse().ok()).unwrap();
                            ours.lock().unwrap().push((number, at));
                        } else if text.contains("\"joined\"") {
                            // The place that stands for it; it is no event.
                            ours.lock().unwrap().push((usize::MAX, Instant::now()));
                        }
                    }
                    Some(other) = others.recv() => {
                        if listens > 0 {
                            talk.say(serde_json::json!({"id": listens.to_string(), "type": "complete"})).await;
                        }
                        listens += 1;
                        let mut asked = tenant.clone();
                        asked["id"] = serde_json::json!(other);
                        talk.subscribe(&listens.to_string(), HEAR, asked).await;
                    }
                }
            }
        });
        Self { heard, to, task }
    }
}

impl Crowd {
    /// Connects so many.
    pub(super) async fn gather(stage: &Stage, count: usize) -> Self {
        let tenant = stage.asked(Uuid::nil());
        let ears = iter(0..count)
            .map(|number| async move { Talk::open(stage.client(number)).await })
            .buffer_unordered(AT_ONCE)
            .map(|talk| Ear::open(talk, tenant.clone()))
            .collect()
            .await;
        Self { ears }
    }

    /// Has them listen to one department each, one after the other, and to nothing else. Returns how many listen to each.
    pub(super) async fn listen(&self, departments: &[Uuid]) -> usize {
        for (ear, department) in self.ears.iter().zip(departments.iter().cycle()) {
            ear.heard.lock().unwrap().clear();
            ear.to.send(*department).unwrap();
        }
        wait::until_within(HEARD_WITHIN, "all listen", || async {
            self.ears.iter().all(|ear| !ear.heard.lock().unwrap().is_empty())
        })
        .await;
        self.ears.iter().for_each(|ear| ear.heard.lock().unwrap().clear());
        self.ears.len() / departments.len()
    }

    /// Waits until so much was heard in all. Returns what each heard, and forgets it.
    pub(super) async fn heard(&self, receipts: usize) -> Vec<Vec<(usize, Instant)>> {
        wait::until_within(HEARD_WITHIN, "all have heard", || async {
            self.ears.iter().map(|ear| ear.heard.lock().unwrap().len()).sum::<usize>() >= receipts
        })
        .await;
        self.ears.iter().map(|ear| std::mem::take(&mut *ear.heard.lock().unwrap())).collect()
    }

    /// Whether all are still connected.
    pub(super) fn is_whole(&self) -> bool {
        self.ears.iter().all(|ear| !ear.task.is_finished())
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.ears.iter().for_each(|ear| ear.task.abort());
    }
}

/// So many who listen to a department and read nothing from then on.
pub(super) async fn silent(stage: &Stage, first: usize, count: usize, department: Uuid) -> Vec<Talk> {
    let mut silent = Vec::new();
    for number in first..first + count {
        let mut talk = Talk::open(stage.client(number)).await;
        talk.subscribe("1", HEAR, stage.asked(department)).await;
        talk.event("departmentEvents").await;
        silent.push(talk);
    }
    silent
}
