-- What was decided at the approval stays, whatever the loan comes to later; grants of before keep it in their calculation as far
-- as they have it.
ALTER TABLE subsidy_grant
    ADD COLUMN combination_zh TEXT NOT NULL DEFAULT '',
    -- The amount that the calculation comes to; not known of grants of before.
    ADD COLUMN explained_fen BIGINT CHECK (explained_fen >= 0);
