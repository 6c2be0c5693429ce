//! How loans meet money. Each step runs in one transaction of its caller: state, ledger entry and event together.

pub mod approval;
pub mod disbursement;
pub mod queue;
