//! The life of an order.

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
    fn a_closed_order_takes_none() {
        for state in [OrderState::Approved, OrderState::Rejected, OrderState::Withdrawn, OrderState::Expired] {
            assert!(is_closed(state));
            for command in COMMANDS {
                assert_eq!(decide(state, command), Err(Refusal::Closed(state)), "{state:?} {command:?}");
            }
        }
    }
}
