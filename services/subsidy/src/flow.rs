//! How loans meet money. Each step runs in one transaction of its caller: state, ledger entries and events together.
//!
//! Everybody takes locks in one order, so that nobody waits in a circle:
//!
//! 1. the batch of a settlement, or a reversal;
//! 2. loans, in order of id; a loan's lock also guards its grants, unless they wait;
//! 3. compensations, in order of id;
//! 4. coupons, in order of id;
//! 5. budgets, in order of id and all at once, missing ones made before; a budget's lock also guards the grants that wait at it.
//!
//! Grants are locked after that, and only by who holds what guards them. Whoever adds loans holds erasures before all that
//! ([`crate::store::known::hold_erasures`]), and an erasure locks nothing after it but loans.
//!
//! One lock is taken out of order: that of the loan of a grant in line for money ([`queue`]), which nobody waits for.

use std::sync::Arc;

use zhirong_kernel::id::Ids;

use crate::store::policy::Book;

pub mod accrual;
pub mod approval;
pub mod batch;
pub mod compensation;
pub mod coupon;
pub mod course;
pub mod purse;
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
