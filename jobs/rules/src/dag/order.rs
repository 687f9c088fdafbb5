//! What a node orders that others carry out: an operation on a machine, or a check of one.

use std::str::FromStr;

use serde_json::Value;

use super::template::{Template, text_of};
use crate::access::Permission;
use crate::health::Check;
use crate::id::{DepartmentId, MachineId};
use crate::machine::{ActionName, BadSpec, Draft, Name, Os, Spec};

/// What a template of an order leads to, in bytes: ids, names and a description.
const MAX_FIELD_BYTES: usize = 4_000;

/// What a node orders, with templates where its run decides.
#[derive(Debug, Clone, PartialEq)]
pub enum Ordered {
    /// A machine is made and started.
    Create(Wish),
    /// A power operation, or the end of a machine.
    Act(ActionName, Template),
    /// Something about a snapshot.
    Snapshot(SnapshotWish),
    /// A check.
    Check(Check, Template),
}

/// A machine that is wanted.
#[derive(Debug, Clone, PartialEq)]
pub struct Wish {
    /// Its name.
    pub name: Template,
    /// What it shall run.
    pub os: Os,
    /// Virtual processors.
    pub vcpus: u64,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Its disk in GiB.
    pub disk_gib: u64,
    /// The department that it shall belong to.
    pub department: Option<Template>,
    /// The host that shall carry it.
    pub host: Option<Template>,
}

/// Something about a snapshot.
#[derive(Debug, Clone, PartialEq)]
pub struct SnapshotWish {
    /// What.
    pub act: SnapshotAct,
    /// The machine.
    pub machine: Template,
    /// The snapshot's name.
    pub name: Template,
    /// What people say of a new one.
    pub description: Option<Template>,
}

/// What is done about a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotAct {
    /// It is taken.
    Create,
    /// The machine is put back to it.
    Restore,
    /// It is removed.
    Delete,
}

/// An order whose templates are filled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Make a machine and start it.
    Create {
        /// What it is made of.
        spec: Spec,
        /// The department that it shall belong to.
        department: Option<DepartmentId>,
        /// The name of its host.
        host: Option<String>,
    },
    /// Do this to a machine.
    Act(ActionName, MachineId),
    /// Do something about a snapshot.
    Snapshot {
        /// What.
        act: SnapshotAct,
        /// Of which machine.
        machine: MachineId,
        /// Its name.
        name: Name,
        /// What people say of a new one.
        description: String,
    },
    /// Check a machine.
    Check(Check, MachineId),
}

impl Ordered {
    /// The name in definitions of the node that orders it.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Create(_) | Self::Act(..) | Self::Snapshot(_) => "machineOperation",
            Self::Check(..) => "healthCheck",
        }
    }

    /// What its order needs of whoever saved the workflow, when it is saved and when it is given.
    pub const fn needs(&self) -> Permission {
        match self {
            Self::Create(_) => Permission::MachineCreate,
            Self::Act(ActionName::Destroy, _) => Permission::MachineDelete,
            Self::Act(_, _) => Permission::MachineExecute,
            Self::Snapshot(wish) => match wish.act {
                SnapshotAct::Create => Permission::SnapshotCreate,
                SnapshotAct::Restore => Permission::SnapshotRestore,
                SnapshotAct::Delete => Permission::SnapshotDelete,
            },
            Self::Check(_, _) => Permission::HealthExecute,
        }
    }

    /// Its templates, with the fields that hold them.
    pub(super) fn templates(&self) -> Vec<(String, &Template)> {
        let held = match self {
            Self::Create(wish) => vec![
                ("name", Some(&wish.name)),
                ("departmentId", wish.department.as_ref()),
                ("host", wish.host.as_ref()),
            ],
            Self::Act(_, machine) | Self::Check(_, machine) => vec![("machineId", Some(machine))],
            Self::Snapshot(wish) => vec![
                ("machineId", Some(&wish.machine)),
                ("snapshotName", Some(&wish.name)),
                ("description", wish.description.as_ref()),
            ],
        };
        held.into_iter().filter_map(|(field, t)| Some((format!("config.{field}"), t?))).collect()
    }

    /// The order that it comes to in this context.
    ///
    /// # Errors
    /// Why it comes to none.
    pub fn fill(&self, ctx: &Value) -> Result<Order, String> {
        match self {
            Self::Create(wish) => wish.fill(ctx),
            Self::Act(action, machine) => Ok(Order::Act(*action, id(machine, ctx, "machineId")?)),
            Self::Check(check, machine) => Ok(Order::Check(*check, id(machine, ctx, "machineId")?)),
            Self::Snapshot(wish) => {
                let name = text(&wish.name, ctx, "snapshotName")?;
                Ok(Order::Snapshot {
                    act: wish.act,
                    machine: id(&wish.machine, ctx, "machineId")?,
                    name: name.parse().map_err(|bad| format!("`snapshotName`: {bad}"))?,
                    description: match &wish.description {
                        Some(description) => text(description, ctx, "description")?,
                        None => String::new(),
                    },
                })
            }
        }
    }
}

impl Wish {
    fn fill(&self, ctx: &Value) -> Result<Order, String> {
        let name = text(&self.name, ctx, "name")?;
        let whole = |given: u64| i64::try_from(given).unwrap_or(i64::MAX);
        let draft = Draft {
            name: &name,
            vcpus: whole(self.vcpus),
            memory_mib: whole(self.memory_mib),
            disk_gib: whole(self.disk_gib),
            os: self.os,
        };
        let spec = draft
            .check()
            .map_err(|faults| faults.iter().map(BadSpec::to_string).collect::<Vec<_>>().join("; "))?;
        Ok(Order::Create {
            spec,
            department: self.department.as_ref().map(|t| id(t, ctx, "departmentId")).transpose()?,
            host: self.host.as_ref().map(|t| text(t, ctx, "host")).transpose()?,
        })
    }
}

fn text(template: &Template, ctx: &Value, field: &str) -> Result<String, String> {
    let root = |name: &str| (name == "ctx").then_some(ctx);
    let value = template.fill(&root, MAX_FIELD_BYTES).map_err(|e| format!("`{field}`: {e}"))?;
    match value {
        Value::String(_) | Value::Number(_) => Ok(text_of(&value)),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            Err(format!("`{field}` comes to no text"))
        }
    }
}

fn id<T: FromStr>(template: &Template, ctx: &Value, field: &str) -> Result<T, String> {
    let found = text(template, ctx, field)?;
    let shown: String = found.chars().take(60).collect();
    found.trim().parse().map_err(|_| format!("`{field}` comes to `{shown}`, which is no id"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn template(text: &str) -> Template {
        Template::read(&json!(text), &["ctx"]).unwrap()
    }

    #[test]
    fn orders_are_filled_or_say_why_not() {
        let machine = "00000000-0000-7000-8000-000000000001";
        let ctx = json!({ "made": { "machineId": machine }, "input": { "name": "web", "bad": "a/b" } });
        let start = Ordered::Act(ActionName::Start, template("{{ctx.made.machineId}}"));
        assert_eq!(start.fill(&ctx), Ok(Order::Act(ActionName::Start, machine.parse().unwrap())));
        let check = Ordered::Check(Check::State, template("{{ctx.input.name}}"));
        assert_eq!(check.fill(&ctx), Err("`machineId` comes to `web`, which is no id".into()));
        let wish = |name: &str| Wish {
            name: template(name),
            os: Os::Ubuntu,
            vcpus: 1,
            memory_mib: 64,
            disk_gib: 0,
            department: None,
            host: Some(template("local")),
        };
        let Ok(Order::Create { spec, host, .. }) = Ordered::Create(wish("{{ctx.input.name}}")).fill(&ctx)
        else {
            panic!("it was not filled");
        };
        assert_eq!((spec.name.as_str(), host.as_deref()), ("web", Some("local")));
        let told = Ordered::Create(wish("{{ctx.input.bad}}")).fill(&ctx).unwrap_err();
        assert!(told.contains("`name`"), "{told}");
        assert_eq!(Ordered::Create(wish("x")).templates().len(), 2);
        assert_eq!(Ordered::Act(ActionName::Destroy, template("x")).needs(), Permission::MachineDelete);
    }
}
