-- Of which LPR a share is paid; policies of before pay a share of the one-year LPR.
ALTER TABLE policy_version
    ADD COLUMN reference_rate TEXT NOT NULL DEFAULT 'one_year_lpr'
        CHECK (reference_rate IN ('one_year_lpr', 'over_five_year_lpr')),
    -- What pays no share of an LPR names no other one.
    ADD CONSTRAINT policy_version_reference_rate_counts
        CHECK (benefit = 'lpr_share' OR reference_rate = 'one_year_lpr');
