ALTER TABLE objection
    -- The version of the record that is disputed: what is upheld takes out that one and no newer one.
    ADD COLUMN observed_at     TIMESTAMPTZ,
    ADD COLUMN revision        INTEGER,
    ADD COLUMN tie_break       TEXT,
    ADD CHECK (num_nulls(observed_at, revision, tie_break) IN (0, 3)),
    -- Computed features that rest on the record's category.
    ADD COLUMN computed_values TEXT[] NOT NULL DEFAULT '{}',
    ADD COLUMN taken_out       BOOLEAN NOT NULL DEFAULT false,
    -- The last fact told of it: 0 none, 1 raised, 2 overdue, 3 decided.
    ADD COLUMN version         BIGINT NOT NULL DEFAULT 0 CHECK (version BETWEEN 0 AND 3);

-- What is open already is told of as raised, and said to reach every computed value.
UPDATE objection AS o
SET observed_at = r.observed_at, revision = r.revision, tie_break = r.tie_break,
    computed_values = '{credit_grade,credit_score,ip_value_fen,is_quality_enterprise,listing_tier}'
FROM record r
WHERE o.state = 1 AND (r.source, r.category, r.record_id) = (o.source, o.category, o.record_id);
UPDATE objection SET taken_out = true WHERE state = 2;
