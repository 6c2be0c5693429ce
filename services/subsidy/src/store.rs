//! All SQL of subsidy. Locks are always taken in the order loan, budgets by id, grants.

pub mod budget;
pub mod compensation;
pub mod coupon;
pub mod grant;
pub mod loan;
pub mod lpr;
pub mod policy;
pub mod policy_step;
pub mod profile;
pub mod report;
pub mod reversal;
pub mod settlement;
