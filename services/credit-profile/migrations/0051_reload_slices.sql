-- A reload that comes into force is applied to the records that are there in slices, outside of the transaction that hears of it. What
-- comes new is judged by it from that moment on, so that live data flow meanwhile and the end is the same whatever comes between.
ALTER TABLE reload
    -- The last record judged by the reload in force; empty at its beginning, none when all are.
    ADD COLUMN judged_to   TEXT,
    -- Its members are needed no more and are being deleted.
    ADD COLUMN forgetting  BOOLEAN NOT NULL DEFAULT false,
    -- When its first record or its end came.
    ADD COLUMN began_at    TIMESTAMPTZ NOT NULL DEFAULT now(),
    -- When the last one came that was new.
    ADD COLUMN changed_at  TIMESTAMPTZ NOT NULL DEFAULT now(),
    -- When an operator gave it up: nothing of it counts.
    ADD COLUMN given_up_at TIMESTAMPTZ,
    ADD CHECK (judged_to IS NULL OR applied_as_of IS NOT NULL),
    ADD CHECK (given_up_at IS NULL OR applied_as_of IS NULL);
-- Whoever writes them says when.
ALTER TABLE reload ALTER COLUMN began_at DROP DEFAULT, ALTER COLUMN changed_at DROP DEFAULT;
CREATE INDEX reload_at_work ON reload (source, category) WHERE judged_to IS NOT NULL OR forgetting;

-- How a reload stands.
CREATE VIEW reload_state AS
SELECT r.*,
       CASE WHEN r.given_up_at IS NOT NULL THEN 'given_up'
            WHEN r.judged_to IS NOT NULL THEN 'applying'
            WHEN r.applied_as_of IS NOT NULL THEN 'in_force'
            WHEN EXISTS (SELECT FROM reload f
                         WHERE (f.source, f.category) = (r.source, r.category) AND f.applied_as_of IS NOT NULL
                           AND (r.as_of, r.reload_id) < (f.as_of, f.reload_id)) THEN 'outdone'
            ELSE 'receiving' END AS state
FROM reload r;
