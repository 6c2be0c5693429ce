-- The categories in force, as encoded zhirong.profile.v1.Category messages.
CREATE TABLE category (
    category    TEXT PRIMARY KEY CHECK (category ~ '^[a-z][a-z0-9_]{1,62}$'),
    content     BYTEA NOT NULL,
    version     BIGINT NOT NULL CHECK (version > 0)
);

-- The newest version of each record, by its source's own observation time. A withdrawn record stays as a tombstone, so that
-- an older version that comes late does not bring it back.
CREATE TABLE record (
    source      TEXT NOT NULL,
    category    TEXT NOT NULL REFERENCES category,
    record_id   TEXT NOT NULL,
    uscc        TEXT NOT NULL CHECK (length(uscc) = 18),
    observed_at TIMESTAMPTZ NOT NULL,
    withdrawn   BOOLEAN NOT NULL,
    data        JSONB NOT NULL,
    -- Decides between two versions of the same instant, so that the order of arrival does not.
    tie_break   TEXT NOT NULL,
    PRIMARY KEY (source, category, record_id)
);
CREATE INDEX record_live ON record (uscc) WHERE NOT withdrawn;

CREATE TABLE profile (
    enterprise_id   TEXT PRIMARY KEY CHECK (length(enterprise_id) = 18),
    -- 0 until it is computed for the first time.
    version         BIGINT NOT NULL CHECK (version >= 0),
    -- zhirong.profile.v1.Profile; empty until it is computed for the first time.
    content         BYTEA NOT NULL,
    -- The business day it was computed for: ages change with the day.
    computed_on     DATE NOT NULL,
    -- Whether something it is computed from has changed since.
    stale           BOOLEAN NOT NULL
);
CREATE INDEX profile_stale ON profile (enterprise_id) WHERE stale;
CREATE INDEX profile_day ON profile (computed_on);
