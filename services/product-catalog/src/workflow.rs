//! The way of a product version: draft, submitted, reviewed by another person, published, suspended and resumed, retired.

/// Where a version stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Written.
    Draft,
    /// Handed in for review.
    Submitted,
    /// Approved by another person; perhaps waits for its day.
    Reviewed,
    /// In force.
    Published,
    /// Was in force, takes no new orders until it is resumed.
    Suspended,
    /// Replaced, or taken out of the supermarket.
    Retired,
}

impl State {
    /// As the database has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Submitted => "submitted",
            Self::Reviewed => "reviewed",
            Self::Published => "published",
            Self::Suspended => "suspended",
            Self::Retired => "retired",
        }
    }

    /// From the database.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Draft, Self::Submitted, Self::Reviewed, Self::Published, Self::Suspended, Self::Retired]
            .into_iter()
            .find(|state| state.as_str() == text)
    }

    /// Whether it is, or was, for everybody to see.
    pub fn is_public(self) -> bool {
        matches!(self, Self::Published | Self::Suspended | Self::Retired)
    }

    /// In Chinese.
    pub fn zh(self) -> &'static str {
        match self {
            Self::Draft => "草稿",
            Self::Submitted => "待审核",
            Self::Reviewed => "已审核",
            Self::Published => "已发布",
            Self::Suspended => "已暂停",
            Self::Retired => "已下架",
        }
    }
}

/// What somebody wants to do with a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Hand it in for review.
    Submit,
    /// Approve what was handed in.
    Approve,
    /// Make it a draft again.
    SendBack,
    /// Put it into force, now or on a later day; what nobody has reviewed yet is reviewed in the same step.
    Publish,
    /// Take no new orders for some time.
    Suspend,
    /// Take orders again.
    Resume,
}

/// Why a version does not go that way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It stands somewhere from where the way does not lead on.
    WrongState(State),
    /// Two people are needed.
    SamePerson,
}

/// Whether somebody may do it; gives every step that it takes, the last of which is where the version then stands.
pub fn decide(state: State, command: Command, is_author: bool) -> Result<&'static [State], Refusal> {
    use State::{Draft, Published, Reviewed, Submitted, Suspended};
    let (steps, reviews): (&'static [State], bool) = match (command, state) {
        (Command::Submit, Draft) => (&[Submitted], false),
        (Command::Approve, Submitted) => (&[Reviewed], true),
        (Command::SendBack, Submitted | Reviewed) => (&[Draft], true),
        (Command::Publish, Draft) => (&[Submitted, Reviewed, Published], true),
        (Command::Publish, Submitted) => (&[Reviewed, Published], true),
        (Command::Publish, Reviewed) | (Command::Resume, Suspended) => (&[Published], false),
        (Command::Suspend, Published) => (&[Suspended], false),
        (_, state) => return Err(Refusal::WrongState(state)),
    };
    if reviews && is_author { Err(Refusal::SamePerson) } else { Ok(steps) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [State; 6] =
        [State::Draft, State::Submitted, State::Reviewed, State::Published, State::Suspended, State::Retired];
    const COMMANDS: [Command; 6] =
        [Command::Submit, Command::Approve, Command::SendBack, Command::Publish, Command::Suspend, Command::Resume];

    /// Every way that leads into force from a draft that only its author touches.
    #[test]
    fn no_way_leads_into_force_without_another_person() {
        let mut reached = vec![State::Draft];
        let mut next = 0;
        while let Some(&state) = reached.get(next) {
            for command in COMMANDS {
                for &step in decide(state, command, true).unwrap_or_default() {
                    if !reached.contains(&step) {
                        reached.push(step);
                    }
                }
            }
            next += 1;
        }
        assert_eq!(reached, [State::Draft, State::Submitted]);
    }

    #[test]
    fn what_was_public_never_becomes_a_draft_again_and_retired_is_the_end() {
        for state in STATES.into_iter().filter(|state| state.is_public()) {
            for command in COMMANDS {
                for step in decide(state, command, false).unwrap_or_default() {
                    assert!(step.is_public(), "{state:?} {command:?}");
                    assert_ne!(state, State::Retired);
                }
            }
        }
    }

    #[test]
    fn another_person_goes_the_whole_way() {
        assert_eq!(decide(State::Draft, Command::Submit, false).unwrap(), [State::Submitted]);
        assert_eq!(decide(State::Submitted, Command::Approve, false).unwrap(), [State::Reviewed]);
        assert_eq!(decide(State::Reviewed, Command::Publish, true).unwrap(), [State::Published], "who wrote it may");
        assert_eq!(decide(State::Published, Command::Suspend, true).unwrap(), [State::Suspended]);
        assert_eq!(decide(State::Suspended, Command::Resume, true).unwrap(), [State::Published]);
        assert_eq!(decide(State::Published, Command::Publish, false), Err(Refusal::WrongState(State::Published)));
    }

    #[test]
    fn names_read_back() {
        for state in STATES {
            assert_eq!(State::parse(state.as_str()), Some(state));
        }
    }
}
