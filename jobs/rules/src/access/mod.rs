//! Who may do what, decided purely.

mod decide;
mod email;
mod grant;
mod name;
mod permission;
mod principal;

pub use decide::{Denied, InTenant, Overall, Standing, in_tenant, overall};
pub use email::{BadEmail, Email, MAX_EMAIL_CHARS};
pub use grant::{BadGrant, MAX_GRANT_CHARS, Permissions, Wildcard, fits, read as read_grants};
pub use name::{BadName, MAX_SLUG_CHARS, MAX_TITLE_CHARS, Slug, Title};
pub use permission::{Module, Permission, Unknown};
pub use principal::{Principal, Role, TenantRole, UnknownRole};
