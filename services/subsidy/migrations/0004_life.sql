-- The life of a grant after the loan was paid out, and the accounts that its money goes through.

-- The facts of a loan after its approval, as matching told them; what they mean is computed anew whenever one comes.
CREATE TABLE loan_event (
    loan_id             UUID NOT NULL REFERENCES loan,
    -- The loan's version after it.
    version             BIGINT NOT NULL CHECK (version > 0),
    kind                TEXT NOT NULL
        CHECK (kind IN ('disbursed', 'repaid', 'terms_changed', 'settled', 'renewed', 'defaulted', 'recovered')),
    on_date             DATE NOT NULL,
    principal_fen       BIGINT CHECK (principal_fen >= 0),
    interest_fen        BIGINT CHECK (interest_fen >= 0),
    rate_ppm            BIGINT CHECK (rate_ppm >= 0),
    matures_on          DATE,
    PRIMARY KEY (loan_id, version),
    CHECK (kind <> 'disbursed' OR principal_fen > 0),
    CHECK (kind <> 'repaid' OR (principal_fen IS NOT NULL AND interest_fen IS NOT NULL)),
    CHECK (kind NOT IN ('disbursed', 'terms_changed') OR (rate_ppm IS NOT NULL AND matures_on IS NOT NULL))
);
INSERT INTO loan_event (loan_id, version, kind, on_date, principal_fen, rate_ppm, matures_on)
SELECT loan_id, version, 'disbursed', disbursed_on, disbursed_fen, rate_ppm,
       (disbursed_on + make_interval(months => term_months))::date
FROM loan WHERE disbursed_on IS NOT NULL;

-- Where the money of a grant stands. reserved + accrued + payable + paid = planned, unless it waits.
ALTER TABLE subsidy_grant
    -- Most that it may get: the cap of a loan, or what the enterprise's cap of the year had left at the approval.
    ADD COLUMN cap_fen BIGINT CHECK (cap_fen > 0),
    ADD COLUMN reserved_fen BIGINT NOT NULL DEFAULT 0 CHECK (reserved_fen >= 0),
    ADD COLUMN accrued_fen BIGINT NOT NULL DEFAULT 0 CHECK (accrued_fen >= 0),
    ADD COLUMN payable_fen BIGINT NOT NULL DEFAULT 0 CHECK (payable_fen >= 0),
    ADD COLUMN paid_fen BIGINT NOT NULL DEFAULT 0 CHECK (paid_fen >= 0),
    -- What grants that are paid before it take of the loan's rate, in parts per 10^12.
    ADD COLUMN taken_e12 BIGINT NOT NULL DEFAULT 0 CHECK (taken_e12 >= 0),
    -- Claimed back and not yet returned.
    ADD COLUMN clawed_back_fen BIGINT NOT NULL DEFAULT 0 CHECK (clawed_back_fen >= 0),
    -- Everything before this day is accrued.
    ADD COLUMN accrued_until DATE,
    DROP CONSTRAINT one_grant_a_loan,
    -- Policies may add up; the same one never pays twice.
    ADD CONSTRAINT one_grant_a_loan_and_policy UNIQUE (loan_id, policy_id),
    DROP CONSTRAINT subsidy_grant_state_check,
    ADD CONSTRAINT subsidy_grant_state_check
        CHECK (state IN ('reserved', 'active', 'waiting', 'ended', 'reversed')),
    -- Nothing is owed once all is repaid.
    DROP CONSTRAINT subsidy_grant_principal_fen_check,
    ADD CONSTRAINT subsidy_grant_principal_fen_check CHECK (principal_fen >= 0),
    DROP CONSTRAINT subsidy_grant_rate_e12_check,
    ADD CONSTRAINT subsidy_grant_rate_e12_check CHECK (rate_e12 >= 0);
UPDATE subsidy_grant SET reserved_fen = planned_fen WHERE state <> 'waiting';
UPDATE subsidy_grant g SET cap_fen = v.cap_per_loan_fen FROM policy_version v
WHERE v.policy_id = g.policy_id AND v.version = g.policy_version;
ALTER TABLE subsidy_grant ALTER COLUMN cap_fen SET NOT NULL,
    ADD CONSTRAINT grant_money_is_whole
        CHECK (CASE state WHEN 'waiting' THEN reserved_fen + accrued_fen + payable_fen + paid_fen = 0
                          ELSE reserved_fen + accrued_fen + payable_fen + paid_fen = planned_fen END);
CREATE INDEX grant_of_loan ON subsidy_grant (loan_id);
-- Who is to be accrued.
CREATE INDEX grant_accruing ON subsidy_grant (accrued_until NULLS FIRST, grant_id) WHERE state = 'active';
-- What an enterprise has of a year's budget.
CREATE INDEX grant_of_enterprise_and_budget ON subsidy_grant (budget_id, enterprise_id);

-- Reserve: available to reserved; release: back. Accrue: reserved to accrued, as the days pass; unaccrue: back. Fall due: accrued
-- to payable, when interest is reported as paid; undue: back. Pay: payable to paid. Claw back: paid to clawed back, when it is
-- claimed back from the enterprise; return: clawed back to available, when it came back.
ALTER TABLE ledger_transaction
    DROP CONSTRAINT ledger_transaction_reason_check,
    ADD CONSTRAINT ledger_transaction_reason_check
        CHECK (reason IN ('appropriate', 'reserve', 'release', 'accrue', 'unaccrue', 'fall_due', 'undue', 'pay', 'claw_back',
                          'return')),
    DROP CONSTRAINT ledger_transaction_check1,
    DROP CONSTRAINT ledger_transaction_check2,
    -- Money that comes from outside has its document and who entered it.
    ADD CONSTRAINT ledger_transaction_has_document
        CHECK ((reason IN ('appropriate', 'return')) = (document_zh IS NOT NULL)
               AND (document_zh IS NULL) = (entered_by IS NULL));

ALTER TABLE ledger_account
    DROP CONSTRAINT ledger_account_kind_check,
    ADD CONSTRAINT ledger_account_kind_check
        CHECK (kind IN ('appropriation', 'available', 'reserved', 'accrued', 'payable', 'paid', 'clawed_back'));
INSERT INTO ledger_account (budget_id, kind)
SELECT budget_id, unnest(ARRAY['payable', 'clawed_back']) FROM budget;

ALTER TABLE budget
    ADD COLUMN payable_fen BIGINT NOT NULL DEFAULT 0 CHECK (payable_fen >= 0),
    ADD COLUMN clawed_back_fen BIGINT NOT NULL DEFAULT 0 CHECK (clawed_back_fen >= 0),
    -- Whether it was told that little is left; money that comes takes it back.
    ADD COLUMN low_told BOOLEAN NOT NULL DEFAULT false,
    DROP CONSTRAINT budget_balances,
    ADD CONSTRAINT budget_balances
        CHECK (appropriated_fen::numeric
               = available_fen::numeric + reserved_fen + accrued_fen + payable_fen + paid_fen + clawed_back_fen);

CREATE OR REPLACE FUNCTION budget_opens() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO ledger_account (budget_id, kind)
    SELECT NEW.budget_id,
           unnest(ARRAY['appropriation', 'available', 'reserved', 'accrued', 'payable', 'paid', 'clawed_back']);
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION budget_is_guarded() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF (NEW.appropriated_fen, NEW.available_fen, NEW.reserved_fen, NEW.accrued_fen, NEW.payable_fen, NEW.paid_fen,
            NEW.clawed_back_fen) <> (0, 0, 0, 0, 0, 0, 0) THEN
            RAISE EXCEPTION 'a budget begins empty; money comes by postings' USING ERRCODE = 'restrict_violation';
        END IF;
    ELSIF TG_OP = 'DELETE' THEN
        RAISE EXCEPTION 'a budget is never deleted' USING ERRCODE = 'restrict_violation';
    ELSIF pg_trigger_depth() < 2
        AND (NEW.budget_id, NEW.policy_id, NEW.year, NEW.appropriated_fen, NEW.available_fen, NEW.reserved_fen,
             NEW.accrued_fen, NEW.payable_fen, NEW.paid_fen, NEW.clawed_back_fen)
         <> (OLD.budget_id, OLD.policy_id, OLD.year, OLD.appropriated_fen, OLD.available_fen, OLD.reserved_fen,
             OLD.accrued_fen, OLD.payable_fen, OLD.paid_fen, OLD.clawed_back_fen) THEN
        RAISE EXCEPTION 'the balances of a budget move by postings alone' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;

CREATE OR REPLACE FUNCTION ledger_postings_move_budget() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE budget AS b
    SET appropriated_fen = b.appropriated_fen - moved.appropriation,
        available_fen = b.available_fen + moved.available,
        reserved_fen = b.reserved_fen + moved.reserved,
        accrued_fen = b.accrued_fen + moved.accrued,
        payable_fen = b.payable_fen + moved.payable,
        paid_fen = b.paid_fen + moved.paid,
        clawed_back_fen = b.clawed_back_fen + moved.clawed_back
    FROM (SELECT budget_id,
                 coalesce(sum(amount_fen) FILTER (WHERE kind = 'appropriation'), 0) AS appropriation,
                 coalesce(sum(amount_fen) FILTER (WHERE kind = 'available'), 0) AS available,
                 coalesce(sum(amount_fen) FILTER (WHERE kind = 'reserved'), 0) AS reserved,
                 coalesce(sum(amount_fen) FILTER (WHERE kind = 'accrued'), 0) AS accrued,
                 coalesce(sum(amount_fen) FILTER (WHERE kind = 'payable'), 0) AS payable,
                 coalesce(sum(amount_fen) FILTER (WHERE kind = 'paid'), 0) AS paid,
                 coalesce(sum(amount_fen) FILTER (WHERE kind = 'clawed_back'), 0) AS clawed_back
          FROM new_postings GROUP BY budget_id) AS moved
    WHERE b.budget_id = moved.budget_id;
    RETURN NULL;
END $$;

-- The postings of a transaction are written in one statement, in the database transaction that wrote it, and sum to zero: seen
-- once a statement, because a batch of approvals writes thousands.
DROP TRIGGER ledger_posting_is_timely ON ledger_posting;
DROP TRIGGER ledger_postings_sum_to_zero ON ledger_posting;
CREATE OR REPLACE FUNCTION ledger_posting_is_timely() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    wrong RECORD;
BEGIN
    SELECT n.transaction_id INTO wrong FROM new_postings n JOIN ledger_transaction t USING (transaction_id)
    WHERE t.written_in <> pg_current_xact_id() LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'ledger transaction % is closed', wrong.transaction_id USING ERRCODE = 'restrict_violation';
    END IF;
    SELECT transaction_id, sum(amount_fen) AS total INTO wrong FROM new_postings
    GROUP BY transaction_id HAVING sum(amount_fen) <> 0 LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'ledger transaction % does not balance: %', wrong.transaction_id, wrong.total
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ledger_transaction_sums_to_zero';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER ledger_posting_is_timely AFTER INSERT ON ledger_posting
    REFERENCING NEW TABLE AS new_postings FOR EACH STATEMENT EXECUTE FUNCTION ledger_posting_is_timely();

-- What each account of a budget should hold, from its postings and from its grants; empty, always. `kind` is the account; with
-- `grants` before it, the sum over the grants differs from the account; with `grant` before it, one grant differs from its
-- own postings.
DROP VIEW ledger_difference;
CREATE VIEW ledger_difference AS
WITH replayed AS (
    SELECT budget_id, kind, sum(amount_fen) AS fen FROM ledger_posting GROUP BY budget_id, kind
), of_grant AS (
    SELECT t.grant_id, p.kind, sum(p.amount_fen) AS fen
    FROM ledger_transaction t JOIN ledger_posting p ON p.transaction_id = t.transaction_id
    WHERE t.grant_id IS NOT NULL GROUP BY t.grant_id, p.kind
)
SELECT b.budget_id, a.kind, a.stored_fen::numeric AS stored_fen, coalesce(r.fen, 0) AS replayed_fen
FROM budget b
CROSS JOIN LATERAL (VALUES ('appropriation', -b.appropriated_fen), ('available', b.available_fen), ('reserved', b.reserved_fen),
                           ('accrued', b.accrued_fen), ('payable', b.payable_fen), ('paid', b.paid_fen),
                           ('clawed_back', b.clawed_back_fen)) AS a (kind, stored_fen)
LEFT JOIN replayed r ON r.budget_id = b.budget_id AND r.kind = a.kind
WHERE a.stored_fen <> coalesce(r.fen, 0)
UNION ALL
SELECT g.budget_id, 'grant ' || a.kind, a.stored_fen::numeric, coalesce(r.fen, 0)
FROM subsidy_grant g
CROSS JOIN LATERAL (VALUES ('reserved', g.reserved_fen), ('accrued', g.accrued_fen), ('payable', g.payable_fen),
                           ('paid', g.paid_fen), ('clawed_back', g.clawed_back_fen)) AS a (kind, stored_fen)
LEFT JOIN of_grant r ON r.grant_id = g.grant_id AND r.kind = a.kind
WHERE a.stored_fen <> coalesce(r.fen, 0)
UNION ALL
SELECT g.budget_id, 'grants', sum(r.fen), sum(g.planned_fen)
FROM subsidy_grant g
JOIN (SELECT grant_id, sum(fen) AS fen FROM of_grant WHERE kind IN ('reserved', 'accrued', 'payable', 'paid') GROUP BY grant_id) r
    ON r.grant_id = g.grant_id
WHERE g.state <> 'waiting' GROUP BY g.budget_id HAVING sum(r.fen) <> sum(g.planned_fen);
