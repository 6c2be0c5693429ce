-- Risk compensation: the loss of a loan in default, split as was agreed at its approval.

CREATE TABLE compensation (
    compensation_id     UUID PRIMARY KEY,
    loan_id             UUID NOT NULL REFERENCES loan UNIQUE,
    enterprise_id       TEXT NOT NULL CHECK (length(enterprise_id) = 18),
    institution_id      TEXT NOT NULL,
    -- The policy whose pool bears a part; none when no pool does.
    policy_id           UUID,
    policy_version      INT,
    budget_year         INT NOT NULL CHECK (budget_year BETWEEN 2019 AND 2100),
    state               TEXT NOT NULL CHECK (state IN ('open', 'claimed', 'approved', 'refused', 'paid')),
    loss_fen            BIGINT NOT NULL CHECK (loss_fen >= 0),
    recovered_fen       BIGINT NOT NULL DEFAULT 0 CHECK (recovered_fen >= 0),
    defaulted_on        DATE NOT NULL,
    claimable_from      DATE NOT NULL,
    -- zhirong.subsidy.v1.Evidence, length-delimited.
    evidence            BYTEA NOT NULL DEFAULT '',
    reviewed_by         TEXT,
    review_zh           TEXT NOT NULL DEFAULT '',
    calculation_zh      TEXT NOT NULL,
    -- The pool's money: set aside, paid to the lender, owed back of recoveries.
    budget_id           UUID REFERENCES budget,
    pool_reserved_fen   BIGINT NOT NULL DEFAULT 0 CHECK (pool_reserved_fen >= 0),
    pool_paid_fen       BIGINT NOT NULL DEFAULT 0 CHECK (pool_paid_fen >= 0),
    pool_owed_fen       BIGINT NOT NULL DEFAULT 0 CHECK (pool_owed_fen >= 0),
    version             BIGINT NOT NULL CHECK (version > 0),
    opened_at           TIMESTAMPTZ NOT NULL,
    FOREIGN KEY (policy_id, policy_version) REFERENCES policy_version,
    CHECK (defaulted_on <= claimable_from)
);
CREATE INDEX compensation_in_order ON compensation (opened_at, compensation_id);

CREATE TABLE compensation_part (
    compensation_id     UUID NOT NULL REFERENCES compensation,
    part                INT NOT NULL CHECK (part >= 0),
    bearer              TEXT NOT NULL CHECK (bearer IN ('policy_pool', 'guarantor', 'insurer', 'lender')),
    institution_id      TEXT NOT NULL,
    share_ppm           BIGINT NOT NULL CHECK (share_ppm BETWEEN 0 AND 1000000),
    amount_fen          BIGINT NOT NULL CHECK (amount_fen >= 0),
    recovered_fen       BIGINT NOT NULL DEFAULT 0 CHECK (recovered_fen >= 0 AND recovered_fen <= amount_fen),
    paid_on             DATE,
    PRIMARY KEY (compensation_id, part),
    CHECK ((bearer = 'policy_pool') = (institution_id = '')),
    CHECK (bearer <> 'lender' OR paid_on IS NULL)
);

ALTER TABLE ledger_transaction
    ADD COLUMN compensation_id UUID REFERENCES compensation,
    DROP CONSTRAINT ledger_transaction_check,
    -- Money of the treasury belongs to nobody; all other money to one grant or one compensation.
    ADD CONSTRAINT ledger_transaction_belongs
        CHECK (num_nonnulls(grant_id, compensation_id) = CASE reason WHEN 'appropriate' THEN 0 ELSE 1 END);
CREATE INDEX ledger_transaction_of_compensation ON ledger_transaction (compensation_id) WHERE compensation_id IS NOT NULL;

-- The same check for compensations, whose money is due, paid, or owed back.
ALTER VIEW ledger_difference RENAME TO ledger_difference_of_grants;
CREATE VIEW ledger_difference AS
SELECT * FROM ledger_difference_of_grants
UNION ALL
SELECT c.budget_id, 'compensation ' || a.kind, a.stored_fen::numeric, coalesce(r.fen, 0)
FROM compensation c
CROSS JOIN LATERAL (VALUES ('reserved', 0::bigint), ('accrued', 0), ('payable', c.pool_reserved_fen), ('paid', c.pool_paid_fen),
                           ('clawed_back', c.pool_owed_fen)) AS a (kind, stored_fen)
LEFT JOIN (SELECT t.compensation_id, p.kind, sum(p.amount_fen) AS fen
           FROM ledger_transaction t JOIN ledger_posting p ON p.transaction_id = t.transaction_id
           WHERE t.compensation_id IS NOT NULL GROUP BY t.compensation_id, p.kind) r
    ON r.compensation_id = c.compensation_id AND r.kind = a.kind
WHERE c.budget_id IS NOT NULL AND a.stored_fen <> coalesce(r.fen, 0);
