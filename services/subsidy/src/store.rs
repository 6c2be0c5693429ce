//! All SQL of subsidy. Locks are always taken in the order loan, budgets by id, grant.

pub mod budget;
pub mod grant;
pub mod loan;
pub mod lpr;
pub mod policy;
pub mod report;
