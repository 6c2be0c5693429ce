//! All SQL of matching.

pub mod adjustment;
pub mod candidate;
pub mod catalog;
pub mod coupon;
pub mod disclosure;
pub mod erasure;
pub mod institution_report;
pub mod loan;
pub mod objection;
pub mod order;
pub mod population;
pub mod preapproval;
pub mod read_model;
pub mod report;
pub mod subsidy;
