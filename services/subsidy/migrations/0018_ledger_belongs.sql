-- What a ledger transaction refers to is looked up once a statement, as its grant is: a foreign key is looked at for every row, also for
-- those that refer to nothing. Lines and compensations stay for good, as grants do; settlement_line_is_fixed sees to the rest of a line.
ALTER TABLE ledger_transaction
    DROP CONSTRAINT ledger_transaction_settlement_line_id_fkey,
    DROP CONSTRAINT ledger_transaction_compensation_id_fkey;
CREATE TRIGGER settlement_line_stays BEFORE TRUNCATE ON settlement_line
    FOR EACH STATEMENT EXECUTE FUNCTION stays_for_good();
CREATE TRIGGER compensation_stays BEFORE UPDATE OF compensation_id OR DELETE OR TRUNCATE ON compensation
    FOR EACH STATEMENT EXECUTE FUNCTION stays_for_good();

CREATE FUNCTION ledger_belongs() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    odd UUID;
BEGIN
    SELECT n.transaction_id INTO odd FROM new_transactions n
    WHERE n.settlement_line_id IS NOT NULL
      AND (SELECT l.line_id FROM settlement_line l WHERE l.line_id = n.settlement_line_id) IS NULL
       OR n.compensation_id IS NOT NULL
      AND (SELECT c.compensation_id FROM compensation c WHERE c.compensation_id = n.compensation_id) IS NULL
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'ledger transaction % refers to what is not known', odd USING ERRCODE = 'foreign_key_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER ledger_belongs AFTER INSERT ON ledger_transaction
    REFERENCING NEW TABLE AS new_transactions FOR EACH STATEMENT EXECUTE FUNCTION ledger_belongs();
