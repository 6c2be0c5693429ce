-- A policy; its row is locked while versions are drafted and published.
CREATE TABLE policy (
    policy_id           UUID PRIMARY KEY,
    last_version        INT NOT NULL CHECK (last_version >= 1),
    -- The published version; none before the first publication.
    current_version     INT CHECK (current_version BETWEEN 1 AND last_version)
);

-- One version of a policy. What it says never changes (trigger); only its standing does.
CREATE TABLE policy_version (
    policy_id               UUID NOT NULL REFERENCES policy,
    version                 INT NOT NULL CHECK (version >= 1),
    state                   TEXT NOT NULL CHECK (state IN ('draft', 'published', 'retired')),
    name_zh                 TEXT NOT NULL CHECK (char_length(name_zh) BETWEEN 1 AND 64),
    source_document_zh      TEXT NOT NULL,
    benefit                 TEXT NOT NULL CHECK (benefit IN ('lpr_share', 'fixed_rate')),
    benefit_ppm             BIGINT NOT NULL,
    required_product_tags   TEXT[] NOT NULL,
    enterprise_classes      TEXT[] NOT NULL,
    effective_from          DATE NOT NULL,
    effective_to            DATE NOT NULL,
    max_months              INT NOT NULL CHECK (max_months BETWEEN 1 AND 120),
    cap_per_loan_fen        BIGINT NOT NULL CHECK (cap_per_loan_fen > 0),
    principal_cap_fen       BIGINT NOT NULL CHECK (principal_cap_fen > 0),
    day_count               INT NOT NULL CHECK (day_count IN (360, 365)),
    priority                INT NOT NULL,
    drafted_by              TEXT NOT NULL,
    drafted_at              TIMESTAMPTZ NOT NULL,
    published_by            TEXT,
    published_at            TIMESTAMPTZ,
    retired_at              TIMESTAMPTZ,
    PRIMARY KEY (policy_id, version),
    CHECK (effective_from <= effective_to),
    CHECK (CASE benefit WHEN 'lpr_share' THEN benefit_ppm BETWEEN 500000 AND 800000
                        ELSE benefit_ppm BETWEEN 1 AND 50000 END),
    -- Two persons: nobody publishes what they wrote.
    CHECK (published_by <> drafted_by),
    CHECK ((state = 'draft') = (published_at IS NULL)),
    CHECK ((published_at IS NULL) = (published_by IS NULL)),
    CHECK ((state = 'retired') = (retired_at IS NOT NULL))
);
-- One version of a policy is published at a time.
CREATE UNIQUE INDEX policy_version_published ON policy_version (policy_id) WHERE state = 'published';

CREATE FUNCTION policy_version_is_fixed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF to_jsonb(NEW) - '{state,published_by,published_at,retired_at}'::text[]
       <> to_jsonb(OLD) - '{state,published_by,published_at,retired_at}'::text[] THEN
        RAISE EXCEPTION 'a policy version never changes; draft the next one' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER policy_version_is_fixed BEFORE UPDATE ON policy_version
    FOR EACH ROW EXECUTE FUNCTION policy_version_is_fixed();

-- The LPR as product-catalog published it last: one row, and its publications.
CREATE TABLE lpr_table (
    one                 BOOLEAN PRIMARY KEY DEFAULT true CHECK (one),
    version             BIGINT NOT NULL CHECK (version > 0),
    known_through       DATE NOT NULL
);
CREATE TABLE lpr_change (
    published_on        DATE PRIMARY KEY,
    one_year_ppm        BIGINT NOT NULL,
    five_year_ppm       BIGINT NOT NULL
);

-- What subsidy knows of a loan, from `loan.approved` and `loan.disbursed`.
CREATE TABLE loan (
    loan_id             UUID PRIMARY KEY,
    enterprise_id       TEXT NOT NULL CHECK (length(enterprise_id) = 18),
    institution_id      TEXT NOT NULL,
    product_id          UUID NOT NULL,
    product_tags        TEXT[] NOT NULL,
    -- Empty when not known.
    enterprise_class    TEXT NOT NULL,
    amount_fen          BIGINT NOT NULL CHECK (amount_fen > 0),
    rate_ppm            BIGINT NOT NULL CHECK (rate_ppm >= 0),
    term_months         INT NOT NULL CHECK (term_months > 0),
    approved_at         TIMESTAMPTZ NOT NULL,
    -- How many policies fitted at the approval; 0 says that there is no grant and why.
    fitting_policies    INT NOT NULL CHECK (fitting_policies >= 0),
    disbursed_fen       BIGINT CHECK (disbursed_fen > 0 AND disbursed_fen <= amount_fen),
    disbursed_on        DATE,
    -- The loan's own version; an older fact changes nothing.
    version             BIGINT NOT NULL CHECK (version > 0),
    CHECK ((disbursed_fen IS NULL) = (disbursed_on IS NULL))
);

-- The budget of a policy for one year. Its lock orders everything that happens to its money. The balances are kept by the
-- ledger's trigger alone.
CREATE TABLE budget (
    budget_id           UUID PRIMARY KEY,
    policy_id           UUID NOT NULL REFERENCES policy,
    year                INT NOT NULL CHECK (year BETWEEN 2019 AND 2100),
    appropriated_fen    BIGINT NOT NULL DEFAULT 0 CHECK (appropriated_fen >= 0),
    -- Invariant 4: no budget is ever exceeded.
    available_fen       BIGINT NOT NULL DEFAULT 0 CONSTRAINT budget_not_exceeded CHECK (available_fen >= 0),
    reserved_fen        BIGINT NOT NULL DEFAULT 0 CHECK (reserved_fen >= 0),
    accrued_fen         BIGINT NOT NULL DEFAULT 0 CHECK (accrued_fen >= 0),
    paid_fen            BIGINT NOT NULL DEFAULT 0 CHECK (paid_fen >= 0),
    -- Counts the facts reported about this budget.
    fact_version        BIGINT NOT NULL DEFAULT 0 CHECK (fact_version >= 0),
    UNIQUE (policy_id, year),
    UNIQUE (budget_id, policy_id),
    -- Invariant 4: money is neither made nor lost.
    CONSTRAINT budget_balances
        CHECK (appropriated_fen::numeric = available_fen::numeric + reserved_fen + accrued_fen + paid_fen)
) WITH (fillfactor = 50); -- a hot row is updated in place

-- What one loan gets.
CREATE TABLE subsidy_grant (
    grant_id            UUID PRIMARY KEY,
    -- The policies of the spine exclude each other: one grant a loan.
    loan_id             UUID NOT NULL REFERENCES loan CONSTRAINT one_grant_a_loan UNIQUE,
    enterprise_id       TEXT NOT NULL CHECK (length(enterprise_id) = 18),
    policy_id           UUID NOT NULL,
    policy_version      INT NOT NULL,
    budget_id           UUID NOT NULL,
    state               TEXT NOT NULL CHECK (state IN ('reserved', 'active', 'waiting')),
    planned_fen         BIGINT NOT NULL CHECK (planned_fen >= 0),
    -- Subsidised yearly rate in parts per 10^12, so that a share of the LPR stays exact.
    rate_e12            BIGINT NOT NULL CHECK (rate_e12 > 0),
    -- The one-year LPR it came from; none for a fixed rate.
    lpr_ppm             BIGINT,
    principal_fen       BIGINT NOT NULL CHECK (principal_fen > 0),
    from_on             DATE NOT NULL,
    until_on            DATE NOT NULL CHECK (until_on > from_on),
    -- Whether the figures rest on the real disbursement.
    disbursed           BOOLEAN NOT NULL DEFAULT false,
    calculation_zh      TEXT NOT NULL,
    version             BIGINT NOT NULL CHECK (version > 0),
    approved_at         TIMESTAMPTZ NOT NULL,
    created_at          TIMESTAMPTZ NOT NULL,
    FOREIGN KEY (policy_id, policy_version) REFERENCES policy_version,
    -- The money comes from a budget of the same policy.
    FOREIGN KEY (budget_id, policy_id) REFERENCES budget (budget_id, policy_id),
    -- Invariant 3: at most one grant a loan and policy version, also once policies may add up.
    UNIQUE (loan_id, policy_id, policy_version),
    CHECK (disbursed OR state <> 'active'),
    CHECK (NOT disbursed OR state <> 'reserved')
);
CREATE INDEX grant_queue ON subsidy_grant (budget_id, approved_at, loan_id) WHERE state = 'waiting';
CREATE INDEX grant_in_order ON subsidy_grant (created_at, grant_id);
CREATE INDEX grant_of_enterprise ON subsidy_grant (enterprise_id, created_at, grant_id);
