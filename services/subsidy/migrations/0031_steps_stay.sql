-- Who did what to a policy is written once, as the ledger is.
CREATE FUNCTION policy_step_is_immutable() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the history of a policy is never changed' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER policy_step_is_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON policy_step
    FOR EACH STATEMENT EXECUTE FUNCTION policy_step_is_immutable();
