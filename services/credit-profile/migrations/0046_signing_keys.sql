-- Which key signed: the number it has in the settings. What was there before was signed by the first; so is, while replicas
-- are being replaced, what the version before adds.
ALTER TABLE audit_entry ADD COLUMN signing_key INTEGER NOT NULL DEFAULT 1 CHECK (signing_key > 0);
ALTER TABLE audit_checkpoint ADD COLUMN signing_key INTEGER NOT NULL DEFAULT 1 CHECK (signing_key > 0);
