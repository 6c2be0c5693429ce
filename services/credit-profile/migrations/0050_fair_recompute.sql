-- Profiles are computed in the order in which they were marked, so that none waits for ever behind others that change more often;
-- and one that can't be computed is set aside and tried again with back-off, so that it keeps nobody else waiting.
CREATE SEQUENCE profile_mark;
ALTER TABLE profile
    -- Place in the order of marks; of the last mark that made it stale.
    ADD COLUMN mark     BIGINT NOT NULL DEFAULT nextval('profile_mark'),
    -- Computations that failed since the last that did not.
    ADD COLUMN failures INTEGER NOT NULL DEFAULT 0 CHECK (failures >= 0),
    -- When the next try is due; only of one that is set aside.
    ADD COLUMN retry_at TIMESTAMPTZ,
    ADD CHECK ((failures = 0) = (retry_at IS NULL)),
    ADD CHECK (stale OR retry_at IS NULL);

-- By a trigger, so that no way of marking a profile can leave it out; a mark on a mark changes nothing.
CREATE FUNCTION profile_is_marked() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.mark := nextval('profile_mark');
    RETURN NEW;
END $$;
CREATE TRIGGER profile_is_marked BEFORE UPDATE OF stale ON profile
    FOR EACH ROW WHEN (NEW.stale AND NOT OLD.stale) EXECUTE FUNCTION profile_is_marked();

DROP INDEX profile_stale;
CREATE INDEX profile_stale ON profile (mark) WHERE stale AND retry_at IS NULL;
CREATE INDEX profile_set_aside ON profile (retry_at) WHERE retry_at IS NOT NULL;
