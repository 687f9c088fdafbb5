//! Who may do what, decided purely.

mod decide;
mod email;
mod name;
mod principal;

pub use decide::{Denied, InTenant, Overall, in_tenant, overall};
pub use email::{BadEmail, Email, MAX_EMAIL_CHARS};
pub use name::{BadName, MAX_SLUG_CHARS, MAX_TITLE_CHARS, Slug, Title};
pub use principal::{Principal, Role, TenantRole, UnknownRole};
