//! The words that all contexts share: money, rates, ids, time, calendar, LPR, interest, features and rules.
//!
//! Pure: nothing here awaits, queries, or reads a clock by itself.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::as_conversions,
        clippy::float_arithmetic
    )
)]
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

pub mod calendar;
pub mod clock;
pub mod feature;
pub mod id;
pub mod interest;
pub mod lpr;
pub mod money;
pub mod rate;
pub mod rule;
pub mod shown;
pub mod uscc;

pub use clock::Clock;
pub use id::InstitutionId;
pub use money::Fen;
pub use rate::Ppm;
pub use uscc::Uscc;

/// An enterprise (企业/市场主体) is known by its code.
pub type EnterpriseId = Uscc;
