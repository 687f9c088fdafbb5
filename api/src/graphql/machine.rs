//! Machines: made, looked at, moved.

use async_graphql::connection::Connection;
use async_graphql::{Context, Enum, ID, InputObject, Object, Result, SimpleObject};
use chrono::{DateTime, Utc};
use jobs::db::PgConnection;
use jobs::department::store as departments;
use jobs::machine::store::{self, Filter};
use jobs::machine::{Missing, NewMachine, Relocation, create, missing, relocate};
use rules::access::{InTenant, Overall, overall};
use rules::id::{DepartmentId, MachineId, TenantId};
use rules::machine::{BadSpec, Draft, Spec};
use uuid::Uuid;

use super::operation::{Asked, asked};
use super::page::Page;
use super::scope::{app, enter, parse, trace_parent};
use crate::audit;
use crate::auth::{SignedIn, principal};
use crate::error::{Fault, InputFault};

/// What a machine shall run.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "rules::machine::Os")]
pub(crate) enum MachineOs {
    /// Windows 10.
    #[graphql(name = "WINDOWS10")]
    Windows10,
    /// Windows 11.
    #[graphql(name = "WINDOWS11")]
    Windows11,
    /// Ubuntu.
    Ubuntu,
    /// Fedora.
    Fedora,
}

/// A virtual machine.
#[derive(SimpleObject)]
pub(crate) struct Machine {
    /// Its id. The hypervisor knows it by the same one.
    id: ID,
    /// Its name.
    name: String,
    /// The department that it belongs to.
    department_id: Option<ID>,
    /// The name of its host.
    host: String,
    /// What it shall run.
    os: MachineOs,
    /// Virtual processors.
    vcpus: i32,
    /// Memory in MiB.
    memory_mib: i32,
    /// Its disk in GiB; 0 for none.
    disk_gib: i32,
    /// What it shall be: RUNNING, OFF, SUSPENDED or DESTROYED.
    wanted: String,
    /// What it was seen to be: RUNNING, BLOCKED, PAUSED, SHUTTING_DOWN, OFF, CRASHED, SLEEPING, ABSENT, or
    /// UNKNOWN, which says nothing of it.
    seen: String,
    /// Why it is so, as far as its host tells.
    seen_reason: Option<String>,
    /// When it was seen so.
    seen_at: Option<DateTime<Utc>>,
    /// How what is seen differs from what is wanted, while no operation is under way.
    drift: Option<String>,
    /// Counts what was asked for.
    generation: i64,
    /// Who made it: `user:<id>` or `key:<id>`.
    created_by: String,
    /// When it was made.
    created_at: DateTime<Utc>,
    /// When it was destroyed.
    destroyed_at: Option<DateTime<Utc>>,
}

/// A machine that somebody wants.
#[derive(InputObject)]
pub(crate) struct CreateMachineInput {
    /// Its name: 1 to 63 letters, digits, `-`, `_` and `.`, one of its kind in the tenant.
    name: String,
    /// What it shall run.
    os: MachineOs,
    /// The department that it shall belong to.
    department_id: Option<ID>,
    /// Virtual processors.
    #[graphql(default = 2)]
    vcpus: i32,
    /// Memory in MiB.
    #[graphql(default = 2048)]
    memory_mib: i32,
    /// Its disk in GiB; 0 for none.
    #[graphql(default = 20)]
    disk_gib: i32,
    /// The name of the host that shall carry it; without one, that with the most memory to give.
    host: Option<String>,
}

impl TryFrom<store::Machine> for Machine {
    type Error = Fault;

    fn try_from(m: store::Machine) -> Result<Self, Fault> {
        let spec = m.spec()?;
        Ok(Self {
            id: m.id.into(),
            name: m.name,
            department_id: m.department_id.map(Into::into),
            host: m.host,
            os: spec.os.into(),
            vcpus: i32::from(spec.vcpus),
            memory_mib: i32::try_from(spec.memory_mib).unwrap_or(i32::MAX),
            disk_gib: i32::try_from(spec.disk_gib).unwrap_or(i32::MAX),
            wanted: m.wanted,
            seen: m.seen,
            seen_reason: m.seen_reason,
            seen_at: m.seen_at,
            drift: m.drift,
            generation: m.generation,
            created_by: m.created_by,
            created_at: m.created_at,
            destroyed_at: m.destroyed_at,
        })
    }
}

impl CreateMachineInput {
    /// What is wanted, if all of it can be had: otherwise everything that is wrong with it. One thing alone that is
    /// not there is told as such.
    async fn check(
        &self,
        conn: &mut PgConnection,
        tenant: TenantId,
    ) -> Result<(Spec, Option<DepartmentId>), Fault> {
        let draft = Draft {
            name: &self.name,
            vcpus: i64::from(self.vcpus),
            memory_mib: i64::from(self.memory_mib),
            disk_gib: i64::from(self.disk_gib),
            os: self.os.into(),
        };
        let (spec, mut faults) = match draft.check() {
            Ok(spec) => (Some(spec), Vec::new()),
            Err(bad) => (None, bad.iter().map(fault).collect()),
        };
        let department = self.department_id.as_ref().map(|id| parse::<DepartmentId>(id, "departmentId"));
        let department = department.transpose().unwrap_or_else(|no_id| {
            faults.push(InputFault::of("departmentId", None, no_id.to_string()));
            None
        });
        let mut absent = missing(conn, tenant, department, self.host.as_deref()).await?;
        if faults.is_empty()
            && absent.len() == 1
            && let Some(Missing::Department(error) | Missing::Host(error)) = absent.pop()
        {
            return Err(error.into());
        }
        faults.extend(absent.into_iter().map(|absent| match absent {
            Missing::Department(error) => {
                InputFault::of("departmentId", Some("NOT_FOUND"), error.to_string())
            }
            Missing::Host(error) => InputFault::of("host", Some("NOT_FOUND"), error.to_string()),
        }));
        match spec.filter(|_| faults.is_empty()) {
            Some(spec) => Ok((spec, department)),
            None => Err(Fault::BadInputs(format!("the machine has {} fault(s)", faults.len()), faults)),
        }
    }
}

fn fault(bad: &BadSpec) -> InputFault {
    let field = match bad {
        BadSpec::Name(_) => "name",
        BadSpec::Vcpus(_) => "vcpus",
        BadSpec::Memory(_) => "memoryMib",
        BadSpec::Disk(_) => "diskGib",
    };
    InputFault::of(field, None, bad.to_string())
}

/// What can be read of machines.
#[derive(Default)]
pub(crate) struct MachineQuery;

/// What can be done with machines as a whole.
#[derive(Default)]
pub(crate) struct MachineMutation;

#[Object]
impl MachineQuery {
    /// One machine, destroyed ones included.
    #[graphql(guard = "SignedIn")]
    async fn machine(&self, ctx: &Context<'_>, tenant: Option<ID>, id: ID) -> Result<Machine, Fault> {
        let id = parse::<MachineId>(&id, "id")?;
        let mut conn = app(ctx).db.acquire().await?;
        let scope = enter(ctx, &mut conn, tenant.as_ref(), InTenant::Look).await?;
        store::get(&mut conn, Some(scope.tenant), id).await?.try_into()
    }

    /// A tenant's machines that are not destroyed, oldest first.
    #[graphql(guard = "SignedIn")]
    async fn machines(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Needed, save for an API key.")] tenant: Option<ID>,
        #[graphql(desc = "Only this department's.")] department_id: Option<ID>,
        first: Option<i32>,
        after: Option<String>,
    ) -> Result<Connection<String, Machine>, Fault> {
        let page = Page::<Uuid>::read("machines", first, after.as_deref())?;
        let department = department_id.map(|id| parse::<DepartmentId>(&id, "departmentId")).transpose()?;
        let mut conn = app(ctx).db.acquire().await?;
        let scope = enter(ctx, &mut conn, tenant.as_ref(), InTenant::Look).await?;
        let filter =
            Filter { tenant: Some(scope.tenant), department, host: None, after: page.after.map(MachineId) };
        let rows = store::page(&mut conn, &filter, page.limit()).await?;
        // An unknown department is told; an empty page would hide it.
        if let Some(department) = department.filter(|_| rows.is_empty()) {
            departments::get(&mut conn, scope.tenant, department).await?;
        }
        page.try_of(rows, |m| m.id, Machine::try_from)
    }
}

#[Object]
impl MachineMutation {
    /// Makes a machine and starts it. What is wrong with the input is told all at once, in `extensions.faults`.
    #[graphql(guard = "SignedIn")]
    async fn create_machine(
        &self,
        ctx: &Context<'_>,
        tenant: Option<ID>,
        input: CreateMachineInput,
    ) -> Result<Asked, Fault> {
        let mut tx = audit::begin(ctx).await?;
        let scope = enter(ctx, &mut tx, tenant.as_ref(), InTenant::Work).await?;
        let (spec, department) = input.check(&mut tx, scope.tenant).await?;
        let by = scope.by.to_string();
        let new = NewMachine {
            tenant: scope.tenant,
            department,
            host: input.host.as_deref(),
            spec: &spec,
            by: &by,
            trace_parent: trace_parent(ctx),
        };
        let (_, requested) = create(&mut tx, &new).await?;
        asked(ctx, tx, scope.tenant, requested).await
    }

    /// Moves a machine to another department, or, by who operates the installation, to another host: the
    /// operations that wait for it go along. It must be off for that, and its disks are not copied. Where its
    /// present host has lost its power nobody can see whether it is off: then `hostHasNoPower` vouches for it.
    #[graphql(guard = "SignedIn")]
    async fn move_machine(
        &self,
        ctx: &Context<'_>,
        tenant: Option<ID>,
        id: ID,
        department_id: Option<ID>,
        #[graphql(desc = "The name of the host that shall carry it.")] host: Option<String>,
        #[graphql(
            desc = "Vouches that its present host has no power. With one that has, the machine would run twice.",
            default = false
        )]
        host_has_no_power: bool,
    ) -> Result<Machine, Fault> {
        let id = parse::<MachineId>(&id, "id")?;
        let department = department_id.map(|id| parse::<DepartmentId>(&id, "departmentId")).transpose()?;
        let mut tx = audit::begin(ctx).await?;
        let scope = enter(ctx, &mut tx, tenant.as_ref(), InTenant::Work).await?;
        if department.is_none() && host.is_none() {
            return Err(Fault::BadInput(
                "`departmentId` or `host` is needed: where it shall be moved to".into(),
            ));
        }
        if let Some(department) = department {
            store::set_department(&mut tx, scope.tenant, id, department).await?;
        }
        let mut relocated = None;
        if let Some(name) = &host {
            overall(principal(ctx)?, Overall::Operate)?;
            let by = scope.by.to_string();
            let wish = Relocation {
                tenant: scope.tenant,
                machine: id,
                host: name,
                vouched: host_has_no_power,
                by: &by,
                trace_parent: trace_parent(ctx),
            };
            relocated = Some(relocate(&mut tx, &wish).await?);
        }
        let moved = store::get(&mut tx, Some(scope.tenant), id).await?;
        tx.commit().await?;
        if let Some(relocated) = relocated {
            relocated.tell(app(ctx).wake());
        }
        moved.try_into()
    }
}
