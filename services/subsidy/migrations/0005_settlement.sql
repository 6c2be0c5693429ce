-- Settlement: what is payable is paid in batches, each line once.

CREATE TABLE settlement_batch (
    batch_id            UUID PRIMARY KEY,
    -- The period: a month or a quarter.
    from_on             DATE NOT NULL,
    to_on               DATE NOT NULL CHECK (to_on >= from_on),
    -- Only of this policy; none means of all.
    policy_id           UUID REFERENCES policy,
    state               TEXT NOT NULL CHECK (state IN ('computed', 'discarded', 'reviewed', 'exported', 'closed')),
    computed_by         TEXT NOT NULL,
    computed_at         TIMESTAMPTZ NOT NULL,
    reviewed_by         TEXT,
    reviewed_at         TIMESTAMPTZ,
    review_zh           TEXT NOT NULL DEFAULT '',
    exported_at         TIMESTAMPTZ,
    -- Two persons: nobody reviews what they computed.
    CHECK (reviewed_by <> computed_by),
    CHECK ((reviewed_by IS NULL) = (state = 'computed')),
    CHECK (exported_at IS NOT NULL OR state IN ('computed', 'discarded', 'reviewed'))
);
CREATE INDEX settlement_batch_in_order ON settlement_batch (computed_at, batch_id);

CREATE TABLE settlement_line (
    line_id             UUID PRIMARY KEY,
    batch_id            UUID NOT NULL REFERENCES settlement_batch,
    -- In the batch, from 1.
    number              INT NOT NULL CHECK (number > 0),
    grant_id            UUID NOT NULL REFERENCES subsidy_grant,
    enterprise_id       TEXT NOT NULL CHECK (length(enterprise_id) = 18),
    enterprise_name     TEXT NOT NULL,
    amount_fen          BIGINT NOT NULL CHECK (amount_fen > 0),
    state               TEXT NOT NULL CHECK (state IN ('open', 'paid', 'failed', 'dropped')),
    -- Why the bank could not pay it.
    reason_zh           TEXT NOT NULL DEFAULT '',
    paid_on             DATE,
    UNIQUE (batch_id, number),
    CHECK ((state = 'paid') = (paid_on IS NOT NULL))
);
-- No double pay: what is on its way in one batch is in no other.
CREATE UNIQUE INDEX settlement_line_on_its_way ON settlement_line (grant_id) WHERE state = 'open';
CREATE INDEX settlement_line_of_batch ON settlement_line (batch_id) WHERE state = 'open';

-- What a line says never changes, and neither does its end.
CREATE FUNCTION settlement_line_is_fixed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR OLD.state <> 'open'
       OR (to_jsonb(NEW) - '{state,reason_zh,paid_on}'::text[] <> to_jsonb(OLD) - '{state,reason_zh,paid_on}'::text[]) THEN
        RAISE EXCEPTION 'a line of a settlement is fixed once it has ended' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER settlement_line_is_fixed BEFORE UPDATE OR DELETE ON settlement_line
    FOR EACH ROW EXECUTE FUNCTION settlement_line_is_fixed();

-- A payment names its line, and a line is paid once, whatever a program does.
ALTER TABLE ledger_transaction ADD COLUMN settlement_line_id UUID REFERENCES settlement_line;
CREATE UNIQUE INDEX ledger_line_is_paid_once ON ledger_transaction (settlement_line_id);
ALTER TABLE ledger_transaction
    ADD CONSTRAINT ledger_transaction_pays_a_line CHECK ((reason = 'pay' AND grant_id IS NOT NULL) = (settlement_line_id IS NOT NULL));

-- A grant is taken back by two persons.
CREATE TABLE reversal (
    reversal_id         UUID PRIMARY KEY,
    grant_id            UUID NOT NULL REFERENCES subsidy_grant,
    state               TEXT NOT NULL CHECK (state IN ('requested', 'approved', 'declined')),
    reason_zh           TEXT NOT NULL CHECK (char_length(reason_zh) BETWEEN 1 AND 500),
    requested_by        TEXT NOT NULL,
    requested_at        TIMESTAMPTZ NOT NULL,
    decided_by          TEXT,
    decided_at          TIMESTAMPTZ,
    decision_zh         TEXT NOT NULL DEFAULT '',
    CHECK (decided_by <> requested_by),
    CHECK ((decided_by IS NULL) = (state = 'requested'))
);
CREATE UNIQUE INDEX reversal_open ON reversal (grant_id) WHERE state = 'requested';
CREATE INDEX reversal_in_order ON reversal (requested_at, reversal_id);
