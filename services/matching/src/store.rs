//! All SQL of matching.

pub mod catalog;
pub mod order;
pub mod preapproval;
pub mod read_model;
pub mod report;
