-- Who, what, how much and beside what: the words a real policy has, and the history of its review.

ALTER TABLE policy_version
    -- Codes of administrative divisions (GB/T 2260), 2, 4 or 6 digits; empty means everywhere.
    ADD COLUMN region_codes TEXT[] NOT NULL DEFAULT '{}',
    -- A condition in CEL over the features of the enterprise; empty means anybody.
    ADD COLUMN who TEXT NOT NULL DEFAULT '',
    -- Kinds of intellectual property that may be pledged; empty means that no pledge is asked for.
    ADD COLUMN ip_kinds TEXT[] NOT NULL DEFAULT '{}'
        CHECK (ip_kinds <@ ARRAY['patent', 'trademark', 'copyright']),
    -- Most that one enterprise may get out of one year's budget; none means no such cap.
    ADD COLUMN cap_per_enterprise_year_fen BIGINT CHECK (cap_per_enterprise_year_fen > 0),
    -- Whether it may be paid beside others of its kind, and which of those it excludes all the same.
    ADD COLUMN adds_up BOOLEAN NOT NULL DEFAULT false,
    ADD COLUMN exclusive_groups TEXT[] NOT NULL DEFAULT '{}',
    -- A loan repaid in full within fewer days gets nothing, and what was paid is claimed back.
    ADD COLUMN least_days INT NOT NULL DEFAULT 0 CHECK (least_days BETWEEN 0 AND 3660),
    -- A budget with a smaller share available is reported as low.
    ADD COLUMN low_budget_ppm BIGINT NOT NULL DEFAULT 100000 CHECK (low_budget_ppm BETWEEN 1 AND 1000000),
    -- Of a risk compensation: days before a claim, and whether interest owed counts as loss.
    ADD COLUMN waiting_days INT CHECK (waiting_days BETWEEN 0 AND 3660),
    ADD COLUMN interest_counts BOOLEAN,
    -- From then on no approval counts; a version that was merely replaced has none.
    ADD COLUMN ended_at TIMESTAMPTZ,
    DROP CONSTRAINT policy_version_benefit_check,
    ADD CONSTRAINT policy_version_benefit_check CHECK (benefit IN ('lpr_share', 'fixed_rate', 'interest_share', 'guarantee_fee_share',
        'rate_coupon', 'risk_compensation')),
    ADD CONSTRAINT policy_version_compensation_is_whole
        CHECK ((benefit = 'risk_compensation') = (waiting_days IS NOT NULL)
               AND (waiting_days IS NULL) = (interest_counts IS NULL)),
    DROP CONSTRAINT policy_version_check1,
    ADD CONSTRAINT policy_version_benefit_in_bounds
        CHECK (CASE benefit WHEN 'lpr_share' THEN benefit_ppm BETWEEN 500000 AND 800000
                            WHEN 'interest_share' THEN benefit_ppm BETWEEN 1 AND 1000000
                            WHEN 'guarantee_fee_share' THEN benefit_ppm BETWEEN 1 AND 1000000
                            WHEN 'risk_compensation' THEN benefit_ppm = 0
                            ELSE benefit_ppm BETWEEN 1 AND 50000 END),
    DROP CONSTRAINT policy_version_state_check,
    ADD CONSTRAINT policy_version_state_check CHECK (state IN ('draft', 'submitted', 'published', 'retired')),
    DROP CONSTRAINT policy_version_check3,
    ADD CONSTRAINT policy_version_published_once CHECK ((state IN ('draft', 'submitted')) = (published_at IS NULL)),
    ADD CHECK (ended_at IS NULL OR state = 'retired');

CREATE OR REPLACE FUNCTION policy_version_is_fixed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF to_jsonb(NEW) - '{state,published_by,published_at,retired_at,ended_at}'::text[]
       <> to_jsonb(OLD) - '{state,published_by,published_at,retired_at,ended_at}'::text[] THEN
        RAISE EXCEPTION 'a policy version never changes; draft the next one' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;

-- Who did what to a version, when and why. Never changed.
CREATE TABLE policy_step (
    step_id             UUID PRIMARY KEY,
    policy_id           UUID NOT NULL,
    version             INT NOT NULL,
    step                TEXT NOT NULL CHECK (step IN ('drafted', 'submitted', 'returned', 'published', 'retired')),
    taken_by            TEXT NOT NULL,
    taken_at            TIMESTAMPTZ NOT NULL,
    reason_zh           TEXT NOT NULL CHECK (char_length(reason_zh) <= 500),
    FOREIGN KEY (policy_id, version) REFERENCES policy_version
);
CREATE INDEX policy_step_in_order ON policy_step (policy_id, taken_at, step_id);

INSERT INTO policy_step (step_id, policy_id, version, step, taken_by, taken_at, reason_zh)
SELECT gen_random_uuid(), policy_id, version, 'drafted', drafted_by, drafted_at, '' FROM policy_version;
INSERT INTO policy_step (step_id, policy_id, version, step, taken_by, taken_at, reason_zh)
SELECT gen_random_uuid(), policy_id, version, 'published', published_by, published_at, '' FROM policy_version
WHERE published_at IS NOT NULL;

-- What is known of an enterprise, from `profile.updated`: a policy's condition looks at it.
CREATE TABLE profile (
    enterprise_id       TEXT PRIMARY KEY CHECK (length(enterprise_id) = 18),
    name                TEXT NOT NULL,
    version             BIGINT NOT NULL CHECK (version > 0),
    -- zhirong.profile.v1.Profile
    content             BYTEA NOT NULL
);

ALTER TABLE loan
    -- What is pledged, as the approval told it.
    ADD COLUMN ip_kinds TEXT[] NOT NULL DEFAULT '{}',
    -- zhirong.matching.v1.Guarantee, as agreed at the approval; none when the lender alone stands for the loan.
    ADD COLUMN guarantee BYTEA,
    -- The coupon named in the order.
    ADD COLUMN coupon_id UUID,
    -- The lender's own reference, for the payment file.
    ADD COLUMN bank_reference TEXT NOT NULL DEFAULT '';
CREATE INDEX loan_in_order ON loan (approved_at, loan_id);
