//! What of all that the profile computes depends on the way and not on the end: ids and numbers of versions that are made on the way,
//! and when something last changed, which tells through what a profile went within a day.

use anyhow::Result;
use zhirong_proto::profile::v1::{Profile, QualityStanding, TierStanding};
use zhirong_testkit::{Aside, Row, blanked, message_in};

/// Of profiles.
pub const COMPUTED: [Aside; 5] = [
    Aside::columns(
        "profile",
        &["version", "mark"],
        "counts how often it was computed to something else, and was to be",
    ),
    Aside::within("profile", "content", profile, "names its version"),
    Aside::older("profile_version", &["enterprise_id"], "version", "what it was in between is kept"),
    Aside::within("profile_version", "content", profile, "names its version"),
    Aside::columns("erasure", &["profile_version"], "counts how often the profile was computed to something else"),
];

/// Of records, loans and the lists that are made of them.
pub const LISTED: [Aside; 9] = [
    Aside::columns("objection", &["objection_id"], "made when it is raised"),
    Aside::table("quality_change", "each entry and exit on the way, in states that only an order of arrival has"),
    Aside::rows(
        "quality_standing",
        never_in_pool,
        "who is not in it, and of whom nothing is said, is as if never in it",
    ),
    Aside::columns("quality_standing", &["version"], "counts entries and exits on the way"),
    Aside::within("quality_standing", "content", quality, "names its version, and the day of the last entry or exit"),
    Aside::table("tier_change", "each movement on the way, in states that only an order of arrival has"),
    Aside::rows("tier_standing", |row| row["tier"] == "", "who is in none is as if never in one"),
    Aside::columns("tier_standing", &["version"], "counts movements on the way"),
    Aside::within(
        "tier_standing",
        "content",
        tier,
        "names its version, the day of the last movement and whence it was",
    ),
];

fn profile(content: &[u8]) -> Result<Vec<u8>> {
    blanked(content, |profile: &mut Profile| profile.version = 0)
}

fn quality(content: &[u8]) -> Result<Vec<u8>> {
    blanked(content, |standing: &mut QualityStanding| {
        standing.version = 0;
        standing.since_on.clear();
    })
}

fn tier(content: &[u8]) -> Result<Vec<u8>> {
    blanked(content, |standing: &mut TierStanding| {
        standing.version = 0;
        standing.since_on.clear();
        standing.from_tier.clear();
    })
}

fn never_in_pool(row: &Row) -> bool {
    let standing: QualityStanding = message_in(row, "content").unwrap();
    !standing.listed && standing.criteria.is_empty()
}
