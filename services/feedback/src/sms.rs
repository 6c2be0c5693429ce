//! What an SMS is for, and its life. A provider's interface is not idempotent: no answer means *unknown*, and unknown is asked about,
//! never blindly sent again.

use jiff::{SignedDuration, Timestamp};

/// A subsidy that was set aside longer ago is no news: whoever starts to listen late does not send the messages of years.
const NEWS: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Whether an enterprise should still be told of a subsidy; one without a time is new.
#[must_use]
pub fn is_news(reserved_at: Option<Timestamp>, now: Timestamp) -> bool {
    reserved_at.is_none_or(|at| now.duration_since(at) <= NEWS)
}

/// What an SMS is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Asks for a rating.
    Rating,
    /// Tells of a subsidy.
    Grant,
}

impl Kind {
    /// The word in the database.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Rating => "rating",
            Self::Grant => "grant",
        }
    }

    /// The kind with a word of the database.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Rating, Self::Grant].into_iter().find(|kind| kind.word() == word)
    }
}

/// Where an SMS stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Waits for the enterprise's contact.
    WaitingContact,
    /// Will be sent.
    Queued,
    /// Handed to the provider, answer awaited.
    Sending,
    /// The provider took it. Final.
    Sent,
    /// The provider refused it for good. Final.
    Failed,
    /// No answer came.
    Unknown,
}

impl State {
    /// The word in the database.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::WaitingContact => "waiting_contact",
            Self::Queued => "queued",
            Self::Sending => "sending",
            Self::Sent => "sent",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }

    /// The state with a word of the database.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::WaitingContact, Self::Queued, Self::Sending, Self::Sent, Self::Failed, Self::Unknown]
            .into_iter()
            .find(|state| state.word() == word)
    }
}

/// What came of handing an SMS to the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SendOutcome {
    /// The provider took it, under this id of its own.
    Taken(String),
    /// The provider refuses it, and would again.
    Refused(String),
    /// It surely did not reach the provider.
    NotReached(String),
    /// It may or may not have reached the provider.
    Unknown(String),
}

/// What the provider says of an SMS it is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueryOutcome {
    /// It has it, under this id of its own.
    Has(String),
    /// It never got it.
    HasNot,
    /// It can't say now.
    Unknown(String),
}

/// What to write down after a try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The new state.
    pub state: State,
    /// How long to wait before looking at it again.
    pub wait: SignedDuration,
    /// The provider's id, once known.
    pub provider_message_id: Option<String>,
    /// What went wrong.
    pub error: Option<String>,
}

/// The step after handing it over for the `attempts`-th time.
#[must_use]
pub fn after_sending(outcome: SendOutcome, attempts: i32) -> Step {
    match outcome {
        SendOutcome::Taken(id) => done(State::Sent, Some(id), None),
        SendOutcome::Refused(reason) => done(State::Failed, None, Some(reason)),
        SendOutcome::NotReached(reason) => later(State::Queued, attempts, reason),
        SendOutcome::Unknown(reason) => later(State::Unknown, attempts, reason),
    }
}

/// The step after asking about one whose fate is unknown.
#[must_use]
pub fn after_asking(outcome: QueryOutcome, attempts: i32) -> Step {
    match outcome {
        QueryOutcome::Has(id) => done(State::Sent, Some(id), None),
        QueryOutcome::HasNot => {
            Step { state: State::Queued, wait: SignedDuration::ZERO, provider_message_id: None, error: None }
        }
        QueryOutcome::Unknown(reason) => later(State::Unknown, attempts, reason),
    }
}

/// The step when the enterprise has no contact any more.
#[must_use]
pub fn without_contact() -> Step {
    done(State::WaitingContact, None, None)
}

fn done(state: State, provider_message_id: Option<String>, error: Option<String>) -> Step {
    Step { state, wait: SignedDuration::ZERO, provider_message_id, error }
}

fn later(state: State, attempts: i32, reason: String) -> Step {
    Step { state, wait: back_off(attempts), provider_message_id: None, error: Some(reason) }
}

/// 1 s, 5 s, 30 s, 2 min, then every 10 min.
fn back_off(attempts: i32) -> SignedDuration {
    SignedDuration::from_secs(match attempts {
        ..=1 => 1,
        2 => 5,
        3 => 30,
        4 => 120,
        _ => 600,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_have_been_sent_is_never_queued_again_unasked() {
        let step = after_sending(SendOutcome::Unknown("timed out".into()), 1);
        assert_eq!(step.state, State::Unknown);
        assert_eq!(after_asking(QueryOutcome::Unknown("busy".into()), 2).state, State::Unknown);
        assert_eq!(after_asking(QueryOutcome::HasNot, 2).state, State::Queued);
        assert_eq!(after_asking(QueryOutcome::Has("p1".into()), 2).state, State::Sent);
    }

    #[test]
    fn a_refusal_is_final_and_a_failed_connection_is_not() {
        assert_eq!(after_sending(SendOutcome::Refused("blacklisted".into()), 1).state, State::Failed);
        let step = after_sending(SendOutcome::NotReached("refused".into()), 3);
        assert_eq!((step.state, step.wait), (State::Queued, SignedDuration::from_secs(30)));
    }

    #[test]
    fn a_subsidy_of_long_ago_is_no_news() {
        let now: Timestamp = "2026-11-24T08:00:00Z".parse().unwrap();
        for (at, news) in
            [("2026-10-25T08:00:00Z", true), ("2026-10-25T07:59:59Z", false), ("2026-11-24T09:00:00Z", true)]
        {
            assert_eq!(is_news(Some(at.parse().unwrap()), now), news, "{at}");
        }
        assert!(is_news(None, now));
    }

    #[test]
    fn every_state_has_its_word() {
        for word in ["waiting_contact", "queued", "sending", "sent", "failed", "unknown"] {
            assert_eq!(State::from_word(word).unwrap().word(), word);
        }
        assert_eq!(State::from_word("lost"), None);
    }
}
