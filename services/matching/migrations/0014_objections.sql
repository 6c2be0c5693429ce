-- Objections that the profile service told of; one that is decided stays as no more than that, so that a late `raised` does not
-- open it again.
CREATE TABLE objection (
    objection_id    UUID PRIMARY KEY,
    enterprise_id   TEXT NOT NULL CHECK (length(enterprise_id) = 18),
    decided         BOOLEAN NOT NULL,
    -- zhirong.profile.v1.DisputedRecord; empty when it is decided.
    record          BYTEA NOT NULL,
    -- Computed features that rest on the record's category.
    computed_values TEXT[] NOT NULL,
    CHECK (NOT decided OR (record = '' AND computed_values = '{}'))
);
CREATE INDEX objection_open ON objection (enterprise_id) WHERE NOT decided;
