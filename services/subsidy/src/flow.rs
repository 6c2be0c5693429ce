//! How loans meet money. Each step runs in one transaction of its caller: state, ledger entries and events together.

use std::sync::Arc;

use zhirong_kernel::id::Ids;

use crate::store::policy::Book;

pub mod accrual;
pub mod approval;
pub mod compensation;
pub mod coupon;
pub mod course;
pub mod queue;
pub mod reversal;
pub mod settlement;
pub mod till;
pub mod trial;

/// What every step needs.
#[derive(Clone)]
pub struct Desk {
    /// Makes ids.
    pub ids: Arc<dyn Ids>,
    /// The policies.
    pub book: Book,
}
