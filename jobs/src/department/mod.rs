//! Departments: the owners of machines inside a tenant.

pub mod store;

pub use store::Department;
