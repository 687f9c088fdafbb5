//! One host behind libvirt, as the trait wants it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::BoxFuture;
use rules::id::{MachineId, SnapshotId};
use rules::machine::{Errand, HostUri, Reach};
use tokio::sync::{broadcast, watch};
use tokio_util::task::AbortOnDropHandle;
use virt::connect::Connect;

use super::domain_xml::Platform;
use super::line::{Contact, Line};
use super::turns::{Turn, Turns};
use super::volume::Place;
use super::watch::Voices;
use super::{domain, figures, snapshot, volume};
use crate::hypervisor::act::Act;
use crate::hypervisor::definition::{Definition, Disk, DiskOrder};
use crate::hypervisor::driver::{HostEvent, Hypervisor, Outcome, Standing, Trust};
use crate::hypervisor::error::{Fault, HypervisorError};
use crate::hypervisor::seen::{Figures, HostReport, Listed, Mark, Observed, Snapshot};

/// How many calls to one host may block at once, and so how many connections there are; more would only wait
/// inside libvirt.
const SLOTS: usize = 8;
/// How many events wait for a slow receiver before it has to list everything.
const EVENTS: usize = 4_096;

/// The pool in which disks are made unless another is named.
const POOL: &str = "millrace";
/// The folder of which it is made where there is none.
const FOLDER: &str = "/var/lib/libvirt/images/millrace";

/// How a host is reached and what it is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LibvirtSettings {
    /// Its address.
    pub uri: HostUri,
    /// Whether QEMU may use KVM. Never guessed: `/dev/kvm` can be there and no guest execute a line.
    pub kvm: bool,
    /// The storage pool in which disks are made.
    pub pool: String,
    /// The folder of which that pool is made where the host has none of its name, absolute.
    pub folder: String,
}

impl LibvirtSettings {
    /// The host at this address as most are: emulated or a test driver, with disks where libvirt's are.
    pub fn of(uri: HostUri) -> Self {
        Self { uri, kvm: false, pool: POOL.to_owned(), folder: FOLDER.to_owned() }
    }
}

/// One host behind libvirt.
#[derive(Debug)]
pub struct Libvirt {
    settings: LibvirtSettings,
    platform: Platform,
    jobs: Arc<Line>,
    turns: Turns,
    voices: Voices,
    trust: Arc<Mutex<Trust>>,
    // Ends the watch with the host.
    _watch: AbortOnDropHandle<()>,
}

impl Libvirt {
    /// Begins to speak to a host, and to listen, on the runtime that is running. Whether it can be reached
    /// is told by [`Hypervisor::standing`]: a host that is down now is connected when it is back.
    pub fn open(settings: LibvirtSettings) -> Self {
        let in_process = settings.uri.lives_in_process();
        let jobs = Arc::new(Line::new(settings.uri.clone(), SLOTS));
        // A line of its own, so that the watch hears while jobs block or connect. A driver in this process has
        // its machines in the connection, so there it is the same one.
        let ears = if in_process { Arc::clone(&jobs) } else { Arc::new(Line::new(settings.uri.clone(), 1)) };
        let voices = Voices {
            standing: watch::Sender::new(Standing::opening()),
            events: broadcast::Sender::new(EVENTS),
            identity: watch::Sender::new(None),
            astray: Arc::default(),
        };
        let watch = tokio::spawn(super::watch::run(ears, in_process, voices.clone()));
        let platform = if settings.uri.as_str().starts_with("test") {
            Platform::Test
        } else if settings.kvm {
            Platform::Kvm
        } else {
            Platform::Qemu
        };
        Self {
            settings,
            platform,
            jobs,
            turns: Turns::default(),
            voices,
            trust: Arc::new(Mutex::new(Trust::Anyone)),
            _watch: AbortOnDropHandle::new(watch),
        }
    }

    /// Asks something of the host.
    fn call<T: Send + 'static>(
        &self,
        act: &'static str,
        errand: Errand,
        work: impl FnOnce(&Connect) -> Outcome<T> + Send + 'static,
    ) -> BoxFuture<'_, Outcome<T>> {
        self.call_in_turn(None, act, errand, work)
    }

    /// Changes something of a machine, after all that was begun on it before.
    fn change<T: Send + 'static>(
        &self,
        machine: MachineId,
        act: &'static str,
        errand: Errand,
        work: impl FnOnce(&Connect) -> Outcome<T> + Send + 'static,
    ) -> BoxFuture<'_, Outcome<T>> {
        self.call_in_turn(Some(self.turns.of(machine)), act, errand, work)
    }

    fn call_in_turn<T: Send + 'static>(
        &self,
        turn: Option<Turn>,
        act: &'static str,
        errand: Errand,
        work: impl FnOnce(&Connect) -> Outcome<T> + Send + 'static,
    ) -> BoxFuture<'_, Outcome<T>> {
        async move {
            let trust = Arc::clone(&self.trust);
            // No connection is made for what would be refused over any.
            if *trusted(&trust) == Trust::Nobody {
                Trust::Nobody.admit(act, None)?;
            }
            let done = self.call_anyone(turn, act, errand, move |contact| {
                // The last moment in which nothing has been asked yet, and over the very connection.
                trusted(&trust).admit(act, contact.identity.as_deref())?;
                work(&contact.connect)
            });
            let done = done.await;
            if done.as_ref().is_err_and(|error| error.fault == Fault::Unrecognised)
                && *trusted(&self.trust) != Trust::Nobody
            {
                self.voices.astray.notify_one();
            }
            done
        }
        .boxed()
    }

    /// Asks whoever answers.
    async fn call_anyone<T: Send + 'static>(
        &self,
        turn: Option<Turn>,
        act: &'static str,
        errand: Errand,
        work: impl FnOnce(&Contact) -> Outcome<T> + Send + 'static,
    ) -> Outcome<T> {
        // A host that hangs is not waited for by each call anew.
        let standing = self.voices.standing.borrow().clone();
        if standing.reach == Reach::Degraded {
            return Err(HypervisorError::new(Fault::Unreachable, act).because(standing.why));
        }
        let done = self.jobs.call_in_turn(turn, act, errand.answered_within(), work).await;
        if let Err(error) = &done
            && is_silence(errand, error.fault)
        {
            self.voices.doubts(error.to_string());
        }
        done
    }

    /// What the host has. Over connections that lead to different hypervisors nobody tells it: new ones are made first.
    async fn told(&self) -> Outcome<HostReport> {
        let act = "read capacity";
        let report = self.call_anyone(None, act, Errand::Look, figures::report).await?;
        let heard = self.voices.identity.borrow().clone();
        if heard == report.identity {
            return Ok(report);
        }
        self.jobs.forget();
        self.voices.astray.notify_one();
        Trust::Own(heard).admit(act, report.identity.as_deref()).map(|()| report)
    }

    fn perform(&self, act: Act, machine: MachineId, mark: Mark) -> BoxFuture<'_, Outcome<Observed>> {
        let platform = self.platform;
        self.change(machine, act.as_str(), Errand::Act, move |connect| {
            domain::perform(connect, act, machine, mark, platform)
        })
    }

    fn place(&self) -> Place {
        Place { pool: self.settings.pool.clone(), folder: self.settings.folder.clone() }
    }
}

fn trusted(trust: &Mutex<Trust>) -> MutexGuard<'_, Trust> {
    trust.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a host that answers so may answer nobody: what only looks is quick on one that is well, and a connection
/// is made at once.
const fn is_silence(errand: Errand, fault: Fault) -> bool {
    match fault {
        Fault::Unreachable => true,
        Fault::Deadline(_) => matches!(errand, Errand::Look | Errand::Read),
        _ => false,
    }
}

impl Hypervisor for Libvirt {
    fn standing(&self) -> watch::Receiver<Standing> {
        self.voices.standing.subscribe()
    }

    fn events(&self) -> broadcast::Receiver<HostEvent> {
        self.voices.events.subscribe()
    }

    fn trust(&self, whom: Trust) {
        *trusted(&self.trust) = whom;
    }

    fn report(&self) -> BoxFuture<'_, Outcome<HostReport>> {
        self.told().boxed()
    }

    fn list(&self) -> BoxFuture<'_, Outcome<Vec<Listed>>> {
        self.call("list", Errand::Read, domain::list)
    }

    fn look(&self, machine: MachineId) -> BoxFuture<'_, Outcome<Observed>> {
        self.call("look", Errand::Look, move |connect| domain::look(connect, machine))
    }

    fn define<'a>(&'a self, definition: &'a Definition, mark: Mark) -> BoxFuture<'a, Outcome<Observed>> {
        let (definition, platform) = (definition.clone(), self.platform);
        self.change(definition.machine, "define", Errand::Act, move |connect| {
            domain::define(connect, &definition, platform, mark)
        })
    }

    fn start(&self, machine: MachineId, mark: Mark) -> BoxFuture<'_, Outcome<Observed>> {
        self.perform(Act::Start, machine, mark)
    }

    fn shut_down(&self, machine: MachineId, mark: Mark) -> BoxFuture<'_, Outcome<Observed>> {
        self.perform(Act::ShutDown, machine, mark)
    }

    fn force_off(&self, machine: MachineId, mark: Mark) -> BoxFuture<'_, Outcome<Observed>> {
        self.perform(Act::ForceOff, machine, mark)
    }

    fn suspend(&self, machine: MachineId, mark: Mark) -> BoxFuture<'_, Outcome<Observed>> {
        self.perform(Act::Suspend, machine, mark)
    }

    fn resume(&self, machine: MachineId, mark: Mark) -> BoxFuture<'_, Outcome<Observed>> {
        self.perform(Act::Resume, machine, mark)
    }

    fn reboot(&self, machine: MachineId, mark: Mark) -> BoxFuture<'_, Outcome<Observed>> {
        self.perform(Act::Reboot, machine, mark)
    }

    fn reset(&self, machine: MachineId, mark: Mark) -> BoxFuture<'_, Outcome<Observed>> {
        self.perform(Act::Reset, machine, mark)
    }

    fn undefine(&self, machine: MachineId, mark: Mark) -> BoxFuture<'_, Outcome<Observed>> {
        self.perform(Act::Undefine, machine, mark)
    }

    fn leave_mark(&self, machine: MachineId, mark: Mark) -> BoxFuture<'_, Outcome<Observed>> {
        self.perform(Act::Mark, machine, mark)
    }

    fn snapshots(&self, machine: MachineId) -> BoxFuture<'_, Outcome<Vec<Snapshot>>> {
        self.call("list snapshots", Errand::Read, move |connect| snapshot::list(connect, machine))
    }

    fn take_snapshot(
        &self,
        machine: MachineId,
        snapshot: SnapshotId,
        mark: Mark,
    ) -> BoxFuture<'_, Outcome<Snapshot>> {
        self.change(machine, "take snapshot", Errand::Copy, move |connect| {
            snapshot::take(connect, machine, snapshot, mark)
        })
    }

    fn revert(
        &self,
        machine: MachineId,
        snapshot: SnapshotId,
        mark: Mark,
    ) -> BoxFuture<'_, Outcome<Observed>> {
        self.change(machine, "revert", Errand::Copy, move |connect| {
            snapshot::revert(connect, machine, snapshot, mark)
        })
    }

    fn delete_snapshot(
        &self,
        machine: MachineId,
        snapshot: SnapshotId,
        mark: Mark,
    ) -> BoxFuture<'_, Outcome<()>> {
        self.change(machine, "delete snapshot", Errand::Copy, move |connect| {
            snapshot::delete(connect, machine, snapshot, mark)
        })
    }

    fn figures(&self, machine: MachineId) -> BoxFuture<'_, Outcome<Figures>> {
        self.call("read figures", Errand::Read, move |connect| figures::figures(connect, machine))
    }

    fn create_disk(&self, order: DiskOrder) -> BoxFuture<'_, Outcome<Disk>> {
        let place = self.place();
        self.change(order.machine, "create disk", Errand::Disk, move |connect| {
            volume::create(connect, &place, order)
        })
    }

    fn find_disk(&self, order: DiskOrder) -> BoxFuture<'_, Outcome<Disk>> {
        let place = self.place();
        self.call("find disk", Errand::Disk, move |connect| volume::find_made(connect, &place, order))
    }

    fn disk_owners(&self) -> BoxFuture<'_, Outcome<Vec<MachineId>>> {
        let place = self.place();
        self.call("list disks", Errand::Read, move |connect| volume::owners(connect, &place))
    }

    fn delete_disks(&self, machine: MachineId) -> BoxFuture<'_, Outcome<()>> {
        let place = self.place();
        self.change(machine, "delete disks", Errand::Disk, move |connect| {
            volume::delete(connect, &place, machine)
        })
    }
}
