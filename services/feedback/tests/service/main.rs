//! Feedback alone, on a real database and broker, with a provider that counts: one SMS of each kind a loan, whatever comes twice, late or
//! not at all, and one rating a loan.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod erasures;
mod facts;
mod notices;
mod provider;
mod ratings;
mod reading;
mod sealing;
mod shuffle;
mod sms;
mod support;
