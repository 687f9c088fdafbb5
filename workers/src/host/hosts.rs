//! The hosts that this process serves, by their numbers.

use std::collections::HashMap;
use std::sync::Arc;

use jobs::db::patience::{Patience, bounded};
use jobs::db::{CALL_TIMEOUT, PgPool};
use jobs::host::store;
use jobs::queue::Wake;
use rules::queue::{HostNo, Pool};
use tokio_util::sync::CancellationToken;

use super::hold::Hold;
use super::record::Record;
use crate::config::HostConfig;

/// The hosts that this process serves.
#[derive(Debug, Default)]
pub struct Hosts(HashMap<HostNo, Arc<Hold>>);

impl Hosts {
    /// The host of a pool, if this process serves it.
    pub(crate) fn of(&self, pool: Pool) -> Option<&Arc<Hold>> {
        match pool {
            Pool::Host(no, _) => self.0.get(&no),
            Pool::Dag | Pool::Events | Pool::Audit | Pool::Maintenance => None,
        }
    }

    /// Every host.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Hold>> {
        self.0.values()
    }

    /// Makes the hosts known to the database, however long that takes; fewer only after the shutdown.
    pub(crate) async fn register(
        db: &PgPool,
        wake: &Wake,
        configs: &[HostConfig],
        shutdown: &CancellationToken,
    ) -> Self {
        let mut hosts = HashMap::new();
        let record = Arc::new(Record::start(db, wake));
        for config in configs {
            let mut patience = Patience::default();
            while !shutdown.is_cancelled() {
                let registered = bounded(CALL_TIMEOUT, async {
                    let mut tx = jobs::db::begin(db).await?;
                    let (vm, health) = (config.vm_slots, config.health_slots);
                    let known = store::register(&mut tx, &config.name, &config.uri, vm, health).await?;
                    tx.commit().await?;
                    Ok(known)
                });
                match registered.await {
                    Ok(known) => {
                        hosts.insert(
                            known.no,
                            Arc::new(Hold::new(known, config.clone(), Arc::clone(&record))),
                        );
                        break;
                    }
                    Err(error) => {
                        tracing::warn!(%error, host = %config.name, "a host could not be registered; trying again");
                        tokio::time::sleep(patience.next_wait()).await;
                    }
                }
            }
        }
        Self(hosts)
    }
}
