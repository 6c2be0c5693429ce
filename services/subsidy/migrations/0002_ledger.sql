-- The double-entry ledger. Every movement of a budget's money is a transaction of postings that sum to zero; postings never
-- change; a budget's balances are the sum of its postings. All of it is enforced here, whatever a program does.

CREATE TABLE ledger_account (
    budget_id           UUID NOT NULL REFERENCES budget,
    -- 'appropriation' is the treasury's side: its balance is minus what was given.
    kind                TEXT NOT NULL CHECK (kind IN ('appropriation', 'available', 'reserved', 'accrued', 'paid')),
    PRIMARY KEY (budget_id, kind)
);

CREATE TABLE ledger_transaction (
    transaction_id      UUID PRIMARY KEY,
    budget_id           UUID NOT NULL REFERENCES budget,
    reason              TEXT NOT NULL CHECK (reason IN ('appropriate', 'reserve', 'release')),
    grant_id            UUID REFERENCES subsidy_grant,
    -- The treasury's document and who entered it.
    document_zh         TEXT CHECK (char_length(document_zh) BETWEEN 1 AND 200),
    entered_by          TEXT,
    posted_at           TIMESTAMPTZ NOT NULL,
    -- The database transaction that wrote it; postings are added only there.
    written_in          XID8 NOT NULL DEFAULT pg_current_xact_id(),
    UNIQUE (transaction_id, budget_id),
    CHECK ((reason = 'appropriate') = (grant_id IS NULL)),
    CHECK ((reason = 'appropriate') = (document_zh IS NOT NULL)),
    CHECK ((reason = 'appropriate') = (entered_by IS NOT NULL))
);
CREATE INDEX ledger_transaction_of_grant ON ledger_transaction (grant_id);

CREATE TABLE ledger_posting (
    transaction_id      UUID NOT NULL,
    budget_id           UUID NOT NULL,
    kind                TEXT NOT NULL,
    amount_fen          BIGINT NOT NULL CHECK (amount_fen <> 0),
    PRIMARY KEY (transaction_id, kind),
    -- A transaction stays within one budget.
    FOREIGN KEY (transaction_id, budget_id) REFERENCES ledger_transaction (transaction_id, budget_id),
    FOREIGN KEY (budget_id, kind) REFERENCES ledger_account
);
CREATE INDEX ledger_posting_of_account ON ledger_posting (budget_id, kind) INCLUDE (amount_fen);

-- A new budget has its accounts at once, and nothing in them.
CREATE FUNCTION budget_opens() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO ledger_account (budget_id, kind)
    SELECT NEW.budget_id, unnest(ARRAY['appropriation', 'available', 'reserved', 'accrued', 'paid']);
    RETURN NULL;
END $$;
CREATE TRIGGER budget_opens AFTER INSERT ON budget FOR EACH ROW EXECUTE FUNCTION budget_opens();

-- Balances move by postings alone.
CREATE FUNCTION budget_is_guarded() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF (NEW.appropriated_fen, NEW.available_fen, NEW.reserved_fen, NEW.accrued_fen, NEW.paid_fen) <> (0, 0, 0, 0, 0) THEN
            RAISE EXCEPTION 'a budget begins empty; money comes by postings' USING ERRCODE = 'restrict_violation';
        END IF;
    ELSIF TG_OP = 'DELETE' THEN
        RAISE EXCEPTION 'a budget is never deleted' USING ERRCODE = 'restrict_violation';
    ELSIF pg_trigger_depth() < 2
        AND (NEW.budget_id, NEW.policy_id, NEW.year,
             NEW.appropriated_fen, NEW.available_fen, NEW.reserved_fen, NEW.accrued_fen, NEW.paid_fen)
         <> (OLD.budget_id, OLD.policy_id, OLD.year,
             OLD.appropriated_fen, OLD.available_fen, OLD.reserved_fen, OLD.accrued_fen, OLD.paid_fen) THEN
        RAISE EXCEPTION 'the balances of a budget move by postings alone' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER budget_is_guarded BEFORE INSERT OR UPDATE OR DELETE ON budget
    FOR EACH ROW EXECUTE FUNCTION budget_is_guarded();

CREATE FUNCTION ledger_is_immutable() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the ledger is never changed; post a correction' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER ledger_account_is_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_account
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_immutable();
CREATE TRIGGER ledger_transaction_is_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_transaction
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_immutable();
CREATE TRIGGER ledger_posting_is_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_posting
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_immutable();

-- A transaction is closed when the database transaction that wrote it ends.
CREATE FUNCTION ledger_transaction_is_stamped() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.written_in := pg_current_xact_id();
    RETURN NEW;
END $$;
CREATE TRIGGER ledger_transaction_is_stamped BEFORE INSERT ON ledger_transaction
    FOR EACH ROW EXECUTE FUNCTION ledger_transaction_is_stamped();

CREATE FUNCTION ledger_posting_is_timely() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM ledger_transaction
               WHERE transaction_id = NEW.transaction_id AND written_in <> pg_current_xact_id()) THEN
        RAISE EXCEPTION 'ledger transaction % is closed', NEW.transaction_id USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER ledger_posting_is_timely BEFORE INSERT ON ledger_posting
    FOR EACH ROW EXECUTE FUNCTION ledger_posting_is_timely();

-- The budget's balances follow the postings, in the same statement.
CREATE FUNCTION ledger_postings_move_budget() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE budget AS b
    SET appropriated_fen = b.appropriated_fen - moved.appropriation,
        available_fen = b.available_fen + moved.available,
        reserved_fen = b.reserved_fen + moved.reserved,
        accrued_fen = b.accrued_fen + moved.accrued,
        paid_fen = b.paid_fen + moved.paid
    FROM (SELECT budget_id,
                 coalesce(sum(amount_fen) FILTER (WHERE kind = 'appropriation'), 0) AS appropriation,
                 coalesce(sum(amount_fen) FILTER (WHERE kind = 'available'), 0) AS available,
                 coalesce(sum(amount_fen) FILTER (WHERE kind = 'reserved'), 0) AS reserved,
                 coalesce(sum(amount_fen) FILTER (WHERE kind = 'accrued'), 0) AS accrued,
                 coalesce(sum(amount_fen) FILTER (WHERE kind = 'paid'), 0) AS paid
          FROM new_postings GROUP BY budget_id) AS moved
    WHERE b.budget_id = moved.budget_id;
    RETURN NULL;
END $$;
CREATE TRIGGER ledger_postings_move_budget AFTER INSERT ON ledger_posting
    REFERENCING NEW TABLE AS new_postings FOR EACH STATEMENT EXECUTE FUNCTION ledger_postings_move_budget();

-- At the commit every transaction has postings, and they sum to zero.
CREATE FUNCTION ledger_transaction_sums_to_zero() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    total NUMERIC;
BEGIN
    SELECT sum(amount_fen) INTO total FROM ledger_posting WHERE transaction_id = NEW.transaction_id;
    IF total IS DISTINCT FROM 0 THEN
        RAISE EXCEPTION 'ledger transaction % does not balance: %', NEW.transaction_id, coalesce(total::text, 'no postings')
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ledger_transaction_sums_to_zero';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER ledger_transaction_sums_to_zero AFTER INSERT ON ledger_transaction
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION ledger_transaction_sums_to_zero();
CREATE CONSTRAINT TRIGGER ledger_postings_sum_to_zero AFTER INSERT ON ledger_posting
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION ledger_transaction_sums_to_zero();

-- Every account whose stored balance is not the replay of its postings, and every budget whose reserved money is not the
-- sum of its grants. Empty, always.
CREATE VIEW ledger_difference AS
SELECT b.budget_id, a.kind, a.stored_fen::numeric AS stored_fen,
       coalesce((SELECT sum(p.amount_fen) FROM ledger_posting p WHERE p.budget_id = b.budget_id AND p.kind = a.kind), 0)
           AS replayed_fen
FROM budget b
CROSS JOIN LATERAL (VALUES ('appropriation', -b.appropriated_fen), ('available', b.available_fen), ('reserved', b.reserved_fen),
                           ('accrued', b.accrued_fen), ('paid', b.paid_fen)) AS a (kind, stored_fen)
WHERE a.stored_fen
      <> coalesce((SELECT sum(p.amount_fen) FROM ledger_posting p WHERE p.budget_id = b.budget_id AND p.kind = a.kind), 0)
UNION ALL
SELECT b.budget_id, 'grants', b.reserved_fen::numeric,
       coalesce((SELECT sum(g.planned_fen) FROM subsidy_grant g WHERE g.budget_id = b.budget_id AND g.state <> 'waiting'), 0)
FROM budget b
WHERE b.reserved_fen
      <> coalesce((SELECT sum(g.planned_fen) FROM subsidy_grant g WHERE g.budget_id = b.budget_id AND g.state <> 'waiting'), 0);
