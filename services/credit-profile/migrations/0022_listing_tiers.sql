-- Where enterprises that have been in a tier on the way to a listing stand.
CREATE TABLE tier_standing (
    enterprise_id TEXT PRIMARY KEY CHECK (length(enterprise_id) = 18),
    -- Empty for one that is in none any more.
    tier          TEXT NOT NULL,
    -- Movements so far.
    version       BIGINT NOT NULL CHECK (version >= 1),
    -- zhirong.profile.v1.TierStanding.
    content       BYTEA NOT NULL
);
CREATE INDEX tier_standing_tier ON tier_standing (tier, enterprise_id) WHERE tier <> '';

-- Every movement.
CREATE TABLE tier_change (
    enterprise_id TEXT NOT NULL,
    version       BIGINT NOT NULL CHECK (version >= 1),
    content       BYTEA NOT NULL,
    PRIMARY KEY (enterprise_id, version)
);
