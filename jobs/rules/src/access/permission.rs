//! The closed list of what can be permitted within a tenant.

use std::fmt;
use std::str::FromStr;

use super::InTenant::{self, Look, Manage, Work};

/// Which part of the product a permission belongs to: what is switched on and off as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Module {
    /// Members, roles, keys and the tenant itself; cannot be switched off.
    Tenant,
    /// Sessions with an assistant.
    Ai,
    /// Pages of applications.
    AppPage,
    /// What was done, by whom.
    Audit,
    /// Export and import of things that belong together.
    Bundle,
    /// Schedules.
    Cron,
    /// Queries of data sources.
    DataQuery,
    /// Data sources.
    DataSource,
    /// Folders.
    Folder,
    /// Listeners, and what they heard.
    Listener,
    /// Machines, their snapshots and departments.
    Machine,
    /// Widgets and their library.
    Widget,
    /// Workflows, their runs and the jobs that execute them.
    Workflow,
}

impl Module {
    /// Every module.
    pub const ALL: [Self; 13] = [
        Self::Tenant,
        Self::Ai,
        Self::AppPage,
        Self::Audit,
        Self::Bundle,
        Self::Cron,
        Self::DataQuery,
        Self::DataSource,
        Self::Folder,
        Self::Listener,
        Self::Machine,
        Self::Widget,
        Self::Workflow,
    ];

    /// The name in tables, settings and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Ai => "ai",
            Self::AppPage => "apppage",
            Self::Audit => "audit",
            Self::Bundle => "bundle",
            Self::Cron => "cron",
            Self::DataQuery => "dataquery",
            Self::DataSource => "datasource",
            Self::Folder => "folder",
            Self::Listener => "listener",
            Self::Machine => "machine",
            Self::Widget => "widget",
            Self::Workflow => "workflow",
        }
    }
}

/// A text that names none of a closed list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no {1}")]
pub struct Unknown(pub String, pub &'static str);

impl FromStr for Module {
    type Err = Unknown;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|m| m.as_str() == text);
        found.ok_or_else(|| Unknown(text.to_owned(), "module"))
    }
}

/// Each line: the name here, the title on the wire, its module, and what it amounts to. The built-in role
/// `MEMBER` has whatever does not amount to `Manage`.
macro_rules! registry {
    ($($name:ident $title:literal $module:ident $wish:ident;)*) => {
        /// Something that can be permitted, by its title `tenant:<resource>:<verb>`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Permission {
            $(#[doc = concat!("`", $title, "`")] $name,)*
        }

        impl Permission {
            /// Every permission, in the order of the registry.
            pub const ALL: [Self; [$(Self::$name),*].len()] = [$(Self::$name),*];

            /// The title, as grants and the wire write it.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }

            /// The module that it belongs to.
            pub const fn module(self) -> Module {
                match self { $(Self::$name => Module::$module,)* }
            }

            /// Whether it lets one look, work, or decide about others.
            pub const fn wish(self) -> InTenant {
                match self { $(Self::$name => $wish,)* }
            }
        }
    };
}

registry! {
    AiChat "tenant:ai:chat" Ai Work;
    AiRead "tenant:ai:read" Ai Look;
    AiDelete "tenant:ai:delete" Ai Work;
    ApiKeyList "tenant:apikey:list" Tenant Manage;
    ApiKeyCreate "tenant:apikey:create" Tenant Manage;
    ApiKeyRead "tenant:apikey:read" Tenant Manage;
    ApiKeyUpdate "tenant:apikey:update" Tenant Manage;
    ApiKeyDelete "tenant:apikey:delete" Tenant Manage;
    AppPageList "tenant:apppage:list" AppPage Look;
    AppPageCreate "tenant:apppage:create" AppPage Work;
    AppPageRead "tenant:apppage:read" AppPage Look;
    AppPageUpdate "tenant:apppage:update" AppPage Work;
    AppPageDelete "tenant:apppage:delete" AppPage Manage;
    AppPageExport "tenant:apppage:export" AppPage Look;
    AuditList "tenant:audit:list" Audit Manage;
    BundlePreview "tenant:bundle:preview" Bundle Look;
    BundleExecute "tenant:bundle:execute" Bundle Work;
    CronList "tenant:cronjob:list" Cron Look;
    CronCreate "tenant:cronjob:create" Cron Work;
    CronRead "tenant:cronjob:read" Cron Look;
    CronUpdate "tenant:cronjob:update" Cron Work;
    CronDelete "tenant:cronjob:delete" Cron Manage;
    DataQueryList "tenant:dataquery:list" DataQuery Look;
    DataQueryCreate "tenant:dataquery:create" DataQuery Work;
    DataQueryRead "tenant:dataquery:read" DataQuery Look;
    DataQueryUpdate "tenant:dataquery:update" DataQuery Work;
    DataQueryDelete "tenant:dataquery:delete" DataQuery Manage;
    DataQueryTest "tenant:dataquery:test" DataQuery Work;
    DataQueryExecute "tenant:dataquery:execute" DataQuery Work;
    DataQueryExport "tenant:dataquery:export" DataQuery Look;
    DataSourceList "tenant:datasource:list" DataSource Look;
    DataSourceCreate "tenant:datasource:create" DataSource Work;
    DataSourceRead "tenant:datasource:read" DataSource Look;
    DataSourceUpdate "tenant:datasource:update" DataSource Work;
    DataSourceDelete "tenant:datasource:delete" DataSource Manage;
    DataSourceTest "tenant:datasource:test" DataSource Work;
    FolderList "tenant:folder:list" Folder Look;
    FolderCreate "tenant:folder:create" Folder Work;
    FolderUpdate "tenant:folder:update" Folder Work;
    FolderDelete "tenant:folder:delete" Folder Manage;
    ListenerList "tenant:listener:list" Listener Look;
    ListenerCreate "tenant:listener:create" Listener Work;
    ListenerRead "tenant:listener:read" Listener Look;
    ListenerUpdate "tenant:listener:update" Listener Work;
    ListenerDelete "tenant:listener:delete" Listener Manage;
    ListenerExecute "tenant:listener:execute" Listener Work;
    ListenerExport "tenant:listener:export" Listener Look;
    PermissionList "tenant:permissions:list" Tenant Look;
    RoleList "tenant:role:list" Tenant Look;
    RoleCreate "tenant:role:create" Tenant Manage;
    RoleRead "tenant:role:read" Tenant Look;
    RoleUpdate "tenant:role:update" Tenant Manage;
    RoleDelete "tenant:role:delete" Tenant Manage;
    TenantRead "tenant:read" Tenant Look;
    TenantUpdate "tenant:update" Tenant Manage;
    TenantDelete "tenant:delete" Tenant Manage;
    UserList "tenant:user:list" Tenant Look;
    UserCreate "tenant:user:create" Tenant Manage;
    UserRead "tenant:user:read" Tenant Look;
    UserUpdate "tenant:user:update" Tenant Manage;
    UserDelete "tenant:user:delete" Tenant Manage;
    WidgetList "tenant:widget:list" Widget Look;
    WidgetCreate "tenant:widget:create" Widget Work;
    WidgetRead "tenant:widget:read" Widget Look;
    WidgetUpdate "tenant:widget:update" Widget Work;
    WidgetDelete "tenant:widget:delete" Widget Manage;
    WidgetExecute "tenant:widget:execute" Widget Work;
    WidgetExport "tenant:widget:export" Widget Look;
    LibraryList "tenant:widgetlibrary:list" Widget Look;
    LibraryPublish "tenant:widgetlibrary:publish" Widget Manage;
    LibraryUnpublish "tenant:widgetlibrary:unpublish" Widget Manage;
    LibraryInstall "tenant:widgetlibrary:install" Widget Work;
    WorkflowList "tenant:workflow:list" Workflow Look;
    WorkflowCreate "tenant:workflow:create" Workflow Work;
    WorkflowRead "tenant:workflow:read" Workflow Look;
    WorkflowUpdate "tenant:workflow:update" Workflow Work;
    WorkflowDelete "tenant:workflow:delete" Workflow Manage;
    WorkflowExecute "tenant:workflow:execute" Workflow Work;
    WorkflowTest "tenant:workflow:test" Workflow Work;
    WorkflowExport "tenant:workflow:export" Workflow Look;
    // The eighty above are those of the product that is replaced; what follows is ours.
    ListenerRotate "tenant:listener:rotate" Listener Manage;
    JobList "tenant:job:list" Workflow Look;
    JobRead "tenant:job:read" Workflow Look;
    JobCancel "tenant:job:cancel" Workflow Work;
    JobRetry "tenant:job:retry" Workflow Work;
    MachineList "tenant:machine:list" Machine Look;
    MachineCreate "tenant:machine:create" Machine Work;
    MachineRead "tenant:machine:read" Machine Look;
    MachineUpdate "tenant:machine:update" Machine Work;
    MachineDelete "tenant:machine:delete" Machine Manage;
    MachineExecute "tenant:machine:execute" Machine Work;
    SnapshotList "tenant:snapshot:list" Machine Look;
    SnapshotCreate "tenant:snapshot:create" Machine Work;
    SnapshotRestore "tenant:snapshot:restore" Machine Work;
    SnapshotDelete "tenant:snapshot:delete" Machine Manage;
    DepartmentList "tenant:department:list" Machine Look;
    DepartmentCreate "tenant:department:create" Machine Manage;
    DepartmentRead "tenant:department:read" Machine Look;
    DepartmentUpdate "tenant:department:update" Machine Manage;
    DepartmentDelete "tenant:department:delete" Machine Manage;
    HealthRead "tenant:health:read" Machine Look;
    HealthUpdate "tenant:health:update" Machine Work;
    HealthExecute "tenant:health:execute" Machine Work;
}

impl FromStr for Permission {
    type Err = Unknown;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|p| p.title() == text);
        found.ok_or_else(|| Unknown(text.to_owned(), "permission"))
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.title())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Resource and verbs of the product that is replaced; a verb alone stands for `tenant:<verb>`.
    const REPLACED: [(&str, &str); 17] = [
        ("ai", "chat read delete"),
        ("apikey", "list create read update delete"),
        ("apppage", "list create read update delete export"),
        ("audit", "list"),
        ("bundle", "preview execute"),
        ("cronjob", "list create read update delete"),
        ("dataquery", "list create read update delete test execute export"),
        ("datasource", "list create read update delete test"),
        ("folder", "list create update delete"),
        ("listener", "list create read update delete execute export"),
        ("permissions", "list"),
        ("role", "list create read update delete"),
        ("", "read update delete"),
        ("user", "list create read update delete"),
        ("widget", "list create read update delete execute export"),
        ("widgetlibrary", "list publish unpublish install"),
        ("workflow", "list create read update delete execute test export"),
    ];

    #[test]
    fn the_eighty_titles_are_all_there() {
        let mut count = 0;
        for (resource, verbs) in REPLACED {
            for verb in verbs.split_whitespace() {
                let colon = if resource.is_empty() { "" } else { ":" };
                let title = format!("tenant:{resource}{colon}{verb}");
                assert!(title.parse::<Permission>().is_ok(), "{title}");
                count += 1;
            }
        }
        assert_eq!(count, 80);
    }

    #[test]
    fn titles_are_unique_and_lead_back() {
        let titles: BTreeSet<&str> = Permission::ALL.into_iter().map(Permission::title).collect();
        assert_eq!(titles.len(), Permission::ALL.len());
        for permission in Permission::ALL {
            assert_eq!(permission.title().parse(), Ok(permission));
        }
        for module in Module::ALL {
            assert_eq!(module.as_str().parse(), Ok(module));
        }
    }
}
