-- With what each was named the last time on the day: shown otherwise, it is told again. What the version before noted has nothing
-- of it, and is told once more.
ALTER TABLE candidate_named
    ADD COLUMN limit_fen BIGINT,
    ADD COLUMN rate_ppm  BIGINT,
    ADD COLUMN disputed  BOOLEAN;
