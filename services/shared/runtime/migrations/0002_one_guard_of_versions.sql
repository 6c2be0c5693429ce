-- runtime.aggregate alone guarantees one event a version: an event is inserted only where it raises its aggregate's version, and that
-- row is locked until the commit. The same promise by an index of one day's partition cost a wide entry an event, and another when the
-- event was published.
DO $$
DECLARE
    guard NAME;
BEGIN
    SELECT conname INTO STRICT guard FROM pg_constraint WHERE conrelid = 'runtime.outbox'::regclass AND contype = 'u';
    EXECUTE format('ALTER TABLE runtime.outbox DROP CONSTRAINT %I', guard);
END $$;
