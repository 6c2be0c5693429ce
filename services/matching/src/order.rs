//! The life of an order.

use jiff::civil::Date;
use zhirong_proto::matching::v1::OrderState;

/// What somebody wants of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// The institution works on it.
    Accept,
    /// The institution approves a loan.
    Approve,
    /// The institution says no.
    Reject,
    /// The enterprise takes it back.
    Withdraw,
    /// The time to answer is over.
    Expire,
}

/// Why an order does not do as it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It has its end state.
    #[error("the order is closed ({}); a closed order is not answered again", .0.as_str_name())]
    Closed(OrderState),
    /// The institution works on it already.
    #[error("the order has been accepted before")]
    AlreadyAccepted,
    /// The time to answer is over.
    #[error("the order was to be answered by {0} and has expired")]
    Expired(Date),
}

/// The state after an institution's answer on a day. Past the last day to answer the order counts as expired, even while
/// nobody has closed it yet.
///
/// # Errors
/// When the order is closed or overdue, or accepted twice.
pub fn answer(state: OrderState, command: Command, due: Date, today: Date) -> Result<OrderState, Refusal> {
    if state == OrderState::Expired || (!is_closed(state) && due < today) {
        return Err(Refusal::Expired(due));
    }
    decide(state, command)
}

/// The state after a command.
///
/// # Errors
/// When the order is closed, or accepted twice.
pub fn decide(state: OrderState, command: Command) -> Result<OrderState, Refusal> {
    match (state, command) {
        (OrderState::Accepted, Command::Accept) => Err(Refusal::AlreadyAccepted),
        (OrderState::Routed | OrderState::Accepted, command) => Ok(match command {
            Command::Accept => OrderState::Accepted,
            Command::Approve => OrderState::Approved,
            Command::Reject => OrderState::Rejected,
            Command::Withdraw => OrderState::Withdrawn,
            Command::Expire => OrderState::Expired,
        }),
        (closed, _) => Err(Refusal::Closed(closed)),
    }
}

/// Whether nothing can happen to an order any more.
#[must_use]
pub fn is_closed(state: OrderState) -> bool {
    !matches!(state, OrderState::Routed | OrderState::Accepted)
}

/// The word in the database.
#[must_use]
pub fn word(state: OrderState) -> &'static str {
    match state {
        OrderState::Unspecified | OrderState::Routed => "routed",
        OrderState::Accepted => "accepted",
        OrderState::Approved => "approved",
        OrderState::Rejected => "rejected",
        OrderState::Withdrawn => "withdrawn",
        OrderState::Expired => "expired",
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    const COMMANDS: [Command; 5] =
        [Command::Accept, Command::Approve, Command::Reject, Command::Withdraw, Command::Expire];

    #[test]
    fn an_open_order_takes_any_answer() {
        for (command, after) in [
            (Command::Accept, OrderState::Accepted),
            (Command::Approve, OrderState::Approved),
            (Command::Reject, OrderState::Rejected),
            (Command::Withdraw, OrderState::Withdrawn),
            (Command::Expire, OrderState::Expired),
        ] {
            assert_eq!(decide(OrderState::Routed, command), Ok(after));
        }
        assert_eq!(decide(OrderState::Accepted, Command::Accept), Err(Refusal::AlreadyAccepted));
        assert_eq!(decide(OrderState::Accepted, Command::Approve), Ok(OrderState::Approved));
    }

    #[test]
    fn the_last_day_to_answer_is_the_due_day() {
        let (due, next) = (date(2026, 1, 30), date(2026, 1, 31));
        let approve = |state, today| answer(state, Command::Approve, due, today);
        assert_eq!(approve(OrderState::Accepted, due), Ok(OrderState::Approved));
        for state in [OrderState::Routed, OrderState::Accepted, OrderState::Expired] {
            assert_eq!(approve(state, next), Err(Refusal::Expired(due)), "{state:?}");
        }
        // Once answered it stays answered.
        assert_eq!(approve(OrderState::Rejected, next), Err(Refusal::Closed(OrderState::Rejected)));
    }

    #[test]
    fn a_closed_order_takes_none() {
        for state in [OrderState::Approved, OrderState::Rejected, OrderState::Withdrawn, OrderState::Expired] {
            assert!(is_closed(state));
            for command in COMMANDS {
                assert_eq!(decide(state, command), Err(Refusal::Closed(state)), "{state:?} {command:?}");
            }
        }
    }
}
