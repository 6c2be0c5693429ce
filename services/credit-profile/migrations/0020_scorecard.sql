-- Scorecards; the first is written when the service starts. What one says never changes (trigger); only its standing does.
CREATE TABLE scorecard (
    version     INT PRIMARY KEY CHECK (version >= 1),
    -- zhirong.profile.v1.Scorecard.
    content     BYTEA NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('draft', 'in_force', 'retired', 'refused')),
    drafted_by  TEXT NOT NULL,
    drafted_at  TIMESTAMPTZ NOT NULL,
    reviewed_by TEXT,
    reviewed_at TIMESTAMPTZ,
    reason      TEXT NOT NULL,
    -- Two persons: nobody reviews what they wrote.
    CHECK (reviewed_by <> drafted_by),
    CHECK ((state = 'draft') = (reviewed_at IS NULL)),
    CHECK ((reviewed_at IS NULL) = (reviewed_by IS NULL))
);
-- One counts at a time.
CREATE UNIQUE INDEX scorecard_in_force ON scorecard (state) WHERE state = 'in_force';

CREATE FUNCTION scorecard_is_fixed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.version, NEW.content, NEW.drafted_by, NEW.drafted_at) IS DISTINCT FROM
       (OLD.version, OLD.content, OLD.drafted_by, OLD.drafted_at) THEN
        RAISE EXCEPTION 'a scorecard never changes; draft the next one' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER scorecard_is_fixed BEFORE UPDATE ON scorecard FOR EACH ROW EXECUTE FUNCTION scorecard_is_fixed();

-- Every version of every profile, so that a score that was given can be computed again from what was known then. Kept by a
-- trigger, so that no way of writing a profile can leave one out.
CREATE TABLE profile_version (
    enterprise_id TEXT NOT NULL,
    version       BIGINT NOT NULL CHECK (version >= 1),
    -- zhirong.profile.v1.Profile.
    content       BYTEA NOT NULL,
    PRIMARY KEY (enterprise_id, version)
);

CREATE FUNCTION profile_version_is_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO profile_version (enterprise_id, version, content) VALUES (NEW.enterprise_id, NEW.version, NEW.content)
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER profile_version_is_kept AFTER INSERT OR UPDATE OF version ON profile
    FOR EACH ROW WHEN (NEW.version > 0) EXECUTE FUNCTION profile_version_is_kept();

INSERT INTO profile_version (enterprise_id, version, content)
SELECT enterprise_id, version, content FROM profile WHERE version > 0;
