-- Corrections, and full reloads of a source.

-- Which correction of the same observation it is; of two versions the one with the later (observed_at, revision) counts.
ALTER TABLE record ADD COLUMN revision INTEGER NOT NULL DEFAULT 0 CHECK (revision >= 0);
-- Whether the full reload in force does not hold it: it counts as withdrawn. Follows from the rows of record, reload and
-- reload_member alone, whatever the order in which they came.
ALTER TABLE record ADD COLUMN gone BOOLEAN NOT NULL DEFAULT false;

-- Full reloads of a source's records of one category. A row comes with the first of its records or with its end.
CREATE TABLE reload (
    source        TEXT NOT NULL,
    category      TEXT NOT NULL REFERENCES category,
    reload_id     TEXT COLLATE "C" NOT NULL,
    -- What the end said; none until it is here.
    as_of         TIMESTAMPTZ,
    record_count  BIGINT CHECK (record_count >= 0),
    -- Different records that belong to it and were kept.
    member_count  BIGINT NOT NULL DEFAULT 0,
    -- The instant up to which it was applied; none until it was, and when another took its place.
    applied_as_of TIMESTAMPTZ,
    PRIMARY KEY (source, category, reload_id),
    CHECK ((as_of IS NULL) = (record_count IS NULL))
);
-- One reload is in force.
CREATE UNIQUE INDEX reload_in_force ON reload (source, category) WHERE applied_as_of IS NOT NULL;

-- The records of reloads that are in force or may yet be.
CREATE TABLE reload_member (
    source    TEXT NOT NULL,
    category  TEXT NOT NULL,
    reload_id TEXT COLLATE "C" NOT NULL,
    record_id TEXT NOT NULL,
    PRIMARY KEY (source, category, reload_id, record_id)
);
