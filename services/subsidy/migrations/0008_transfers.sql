-- The ledger in one row a transaction. Every transaction moves one amount from one account to another, so it is kept as that:
-- the account that loses, the account that gains, the amount. Its two postings are read from it (view), and that they sum to
-- zero needs no check any more: nothing else can be written. A popular budget takes thousands of approvals a second; three rows
-- with their indexes, foreign keys and checks were most of what an approval cost.

ALTER TABLE ledger_transaction
    ADD COLUMN loses TEXT,
    ADD COLUMN gains TEXT,
    ADD COLUMN amount_fen BIGINT;

-- What was posted until now.
DO $$
DECLARE
    odd UUID;
BEGIN
    SELECT transaction_id INTO odd FROM ledger_posting GROUP BY transaction_id
    HAVING count(*) <> 2 OR sum(amount_fen) <> 0 LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'ledger transaction % is not a movement from one account to another', odd;
    END IF;
END $$;
ALTER TABLE ledger_transaction DISABLE TRIGGER ledger_transaction_is_immutable;
UPDATE ledger_transaction t SET loses = l.kind, gains = g.kind, amount_fen = g.amount_fen
FROM ledger_posting l, ledger_posting g
WHERE l.transaction_id = t.transaction_id AND l.amount_fen < 0 AND g.transaction_id = t.transaction_id AND g.amount_fen > 0;
ALTER TABLE ledger_transaction ENABLE TRIGGER ledger_transaction_is_immutable;

DROP VIEW ledger_difference;
DROP VIEW ledger_difference_of_grants;
DROP TABLE ledger_posting;
DROP TABLE ledger_account;
DROP FUNCTION ledger_posting_is_timely;
DROP FUNCTION ledger_postings_move_budget;
DROP TRIGGER ledger_transaction_sums_to_zero ON ledger_transaction;
DROP FUNCTION ledger_transaction_sums_to_zero;
DROP TRIGGER ledger_transaction_is_stamped ON ledger_transaction;
DROP FUNCTION ledger_transaction_is_stamped;
DROP TRIGGER budget_opens ON budget;
DROP FUNCTION budget_opens;
DROP INDEX ledger_line_is_paid_once;
CREATE UNIQUE INDEX ledger_line_is_paid_once ON ledger_transaction (settlement_line_id) WHERE settlement_line_id IS NOT NULL;

ALTER TABLE ledger_transaction
    ALTER COLUMN loses SET NOT NULL,
    ALTER COLUMN gains SET NOT NULL,
    ALTER COLUMN amount_fen SET NOT NULL,
    DROP COLUMN written_in,
    DROP CONSTRAINT ledger_transaction_transaction_id_budget_id_key,
    ADD CONSTRAINT ledger_transaction_moves_something CHECK (amount_fen > 0),
    -- The reason says which accounts; 'appropriation' is the treasury's side, minus what was given.
    ADD CONSTRAINT ledger_transaction_accounts CHECK (CASE reason
        WHEN 'appropriate' THEN loses = 'appropriation' AND gains = 'available'
        WHEN 'reserve' THEN loses = 'available' AND gains = 'reserved'
        WHEN 'release' THEN loses = 'reserved' AND gains = 'available'
        WHEN 'accrue' THEN loses = 'reserved' AND gains = 'accrued'
        WHEN 'unaccrue' THEN loses = 'accrued' AND gains = 'reserved'
        WHEN 'fall_due' THEN loses = 'accrued' AND gains = 'payable'
        WHEN 'undue' THEN loses = 'payable' AND gains = 'accrued'
        WHEN 'pay' THEN loses = 'payable' AND gains = 'paid'
        WHEN 'claw_back' THEN loses = 'paid' AND gains = 'clawed_back'
        WHEN 'return' THEN loses = 'clawed_back' AND gains = 'available'
        ELSE false END);

-- The postings of every transaction; nothing can be written here.
CREATE VIEW ledger_posting AS
SELECT t.transaction_id, t.budget_id, s.kind, s.amount_fen, t.grant_id, t.compensation_id
FROM ledger_transaction t CROSS JOIN LATERAL (VALUES (t.loses, -t.amount_fen), (t.gains, t.amount_fen)) AS s (kind, amount_fen);

-- Foreign keys to what is never deleted and never gets another key are looked after once a statement instead of once a row, with
-- the same result: what a row refers to stood when it was written, and stands for good.
CREATE FUNCTION stays_for_good() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is referred to by the ledger and stays as it is', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER loan_stays BEFORE UPDATE OF loan_id OR DELETE OR TRUNCATE ON loan
    FOR EACH STATEMENT EXECUTE FUNCTION stays_for_good();
CREATE TRIGGER policy_version_stays BEFORE UPDATE OF policy_id, version OR DELETE OR TRUNCATE ON policy_version
    FOR EACH STATEMENT EXECUTE FUNCTION stays_for_good();
-- budget_is_guarded sees to the rest.
CREATE TRIGGER budget_stays BEFORE TRUNCATE ON budget
    FOR EACH STATEMENT EXECUTE FUNCTION stays_for_good();
-- Nor does a grant come to belong to another loan, policy or budget.
CREATE TRIGGER subsidy_grant_stays BEFORE UPDATE OF grant_id, loan_id, policy_id, policy_version, budget_id OR DELETE OR TRUNCATE
    ON subsidy_grant FOR EACH STATEMENT EXECUTE FUNCTION stays_for_good();

ALTER TABLE subsidy_grant
    DROP CONSTRAINT subsidy_grant_loan_id_fkey,
    DROP CONSTRAINT subsidy_grant_policy_id_policy_version_fkey,
    DROP CONSTRAINT subsidy_grant_budget_id_policy_id_fkey,
    -- Follows from one_grant_a_loan_and_policy.
    DROP CONSTRAINT subsidy_grant_loan_id_policy_id_policy_version_key;
-- The same constraint finds the grants of a loan, grant_of_enterprise those of an enterprise, which are few.
DROP INDEX grant_of_loan;
DROP INDEX grant_of_enterprise_and_budget;

CREATE FUNCTION subsidy_grant_has_roots() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    odd UUID;
BEGIN
    -- One look-up by key a row, whatever the planner thinks of the size of the tables.
    SELECT n.grant_id INTO odd FROM new_grants n
    WHERE (SELECT l.enterprise_id FROM loan l WHERE l.loan_id = n.loan_id) IS NULL LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'the loan of grant % is not known', odd USING ERRCODE = 'foreign_key_violation';
    END IF;
    SELECT n.budget_id INTO odd FROM (SELECT DISTINCT budget_id, policy_id, policy_version FROM new_grants) n
    WHERE (SELECT b.policy_id FROM budget b WHERE b.budget_id = n.budget_id) IS DISTINCT FROM n.policy_id
       OR (SELECT v.version FROM policy_version v WHERE v.policy_id = n.policy_id AND v.version = n.policy_version) IS NULL
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'budget % is not of the grant''s policy', odd USING ERRCODE = 'foreign_key_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER subsidy_grant_has_roots AFTER INSERT ON subsidy_grant
    REFERENCING NEW TABLE AS new_grants FOR EACH STATEMENT EXECUTE FUNCTION subsidy_grant_has_roots();

ALTER TABLE ledger_transaction
    DROP CONSTRAINT ledger_transaction_budget_id_fkey,
    DROP CONSTRAINT ledger_transaction_grant_id_fkey;

-- The budget's balances follow the ledger in the same statement, and money of a grant moves within the grant's budget.
CREATE FUNCTION ledger_moves_budget() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    budgets BIGINT;
    moved BIGINT;
    odd UUID;
BEGIN
    SELECT n.transaction_id INTO odd FROM new_transactions n
    WHERE n.grant_id IS NOT NULL
      AND (SELECT g.budget_id FROM subsidy_grant g WHERE g.grant_id = n.grant_id) IS DISTINCT FROM n.budget_id LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'ledger transaction % is not on the budget of its grant', odd USING ERRCODE = 'foreign_key_violation';
    END IF;
    SELECT count(DISTINCT budget_id) INTO budgets FROM new_transactions;
    WITH by_accounts AS (
        SELECT budget_id, loses, gains, sum(amount_fen) AS fen FROM new_transactions GROUP BY budget_id, loses, gains
    ), by_budget AS (
        SELECT t.budget_id,
               coalesce(sum(s.fen) FILTER (WHERE s.kind = 'appropriation'), 0) AS appropriation,
               coalesce(sum(s.fen) FILTER (WHERE s.kind = 'available'), 0) AS available,
               coalesce(sum(s.fen) FILTER (WHERE s.kind = 'reserved'), 0) AS reserved,
               coalesce(sum(s.fen) FILTER (WHERE s.kind = 'accrued'), 0) AS accrued,
               coalesce(sum(s.fen) FILTER (WHERE s.kind = 'payable'), 0) AS payable,
               coalesce(sum(s.fen) FILTER (WHERE s.kind = 'paid'), 0) AS paid,
               coalesce(sum(s.fen) FILTER (WHERE s.kind = 'clawed_back'), 0) AS clawed_back
        FROM by_accounts t CROSS JOIN LATERAL (VALUES (t.loses, -t.fen), (t.gains, t.fen)) AS s (kind, fen)
        GROUP BY t.budget_id
    )
    UPDATE budget AS b
    SET appropriated_fen = b.appropriated_fen - m.appropriation,
        available_fen = b.available_fen + m.available,
        reserved_fen = b.reserved_fen + m.reserved,
        accrued_fen = b.accrued_fen + m.accrued,
        payable_fen = b.payable_fen + m.payable,
        paid_fen = b.paid_fen + m.paid,
        clawed_back_fen = b.clawed_back_fen + m.clawed_back
    FROM by_budget m WHERE b.budget_id = m.budget_id;
    GET DIAGNOSTICS moved = ROW_COUNT;
    IF moved <> budgets THEN
        RAISE EXCEPTION 'a ledger transaction is on a budget that is not known' USING ERRCODE = 'foreign_key_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER ledger_moves_budget AFTER INSERT ON ledger_transaction
    REFERENCING NEW TABLE AS new_transactions FOR EACH STATEMENT EXECUTE FUNCTION ledger_moves_budget();

-- What each account of a budget should hold, from its postings and from its grants; empty, always. `kind` is the account; with
-- `grants` before it, the sum over the grants differs from the account; with `grant` before it, one grant differs from its
-- own postings.
CREATE VIEW ledger_difference_of_grants AS
WITH replayed AS (
    SELECT budget_id, kind, sum(amount_fen) AS fen FROM ledger_posting GROUP BY budget_id, kind
), of_grant AS (
    SELECT grant_id, kind, sum(amount_fen) AS fen FROM ledger_posting WHERE grant_id IS NOT NULL GROUP BY grant_id, kind
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

-- The same check for compensations, whose money is due, paid, or owed back.
CREATE VIEW ledger_difference AS
SELECT * FROM ledger_difference_of_grants
UNION ALL
SELECT c.budget_id, 'compensation ' || a.kind, a.stored_fen::numeric, coalesce(r.fen, 0)
FROM compensation c
CROSS JOIN LATERAL (VALUES ('reserved', 0::bigint), ('accrued', 0), ('payable', c.pool_reserved_fen), ('paid', c.pool_paid_fen),
                           ('clawed_back', c.pool_owed_fen)) AS a (kind, stored_fen)
LEFT JOIN (SELECT compensation_id, kind, sum(amount_fen) AS fen
           FROM ledger_posting WHERE compensation_id IS NOT NULL GROUP BY compensation_id, kind) r
    ON r.compensation_id = c.compensation_id AND r.kind = a.kind
WHERE c.budget_id IS NOT NULL AND a.stored_fen <> coalesce(r.fen, 0);
