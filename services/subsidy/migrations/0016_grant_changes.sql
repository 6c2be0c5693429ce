-- In which transaction a grant changed last. Transactions commit in another order than they begin, so that whoever follows the
-- changes is shown only those of transactions before the oldest that is still at work: none can come to stand behind them.
ALTER TABLE subsidy_grant ADD COLUMN changed_in XID8 NOT NULL DEFAULT pg_current_xact_id();
CREATE FUNCTION subsidy_grant_changes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.changed_in := pg_current_xact_id();
    RETURN NEW;
END $$;
CREATE TRIGGER subsidy_grant_changes BEFORE UPDATE ON subsidy_grant
    FOR EACH ROW EXECUTE FUNCTION subsidy_grant_changes();
CREATE INDEX grant_by_change ON subsidy_grant (changed_in, grant_id);
