//! All SQL of subsidy. The order of locks is that of [`crate::flow`].

pub mod budget;
pub mod compensation;
pub mod coupon;
pub mod grant;
pub mod grant_change;
pub mod known;
pub mod loan;
pub mod lpr;
pub mod policy;
pub mod policy_step;
pub mod profile;
pub mod queue;
pub mod report;
pub mod reversal;
pub mod settlement;
