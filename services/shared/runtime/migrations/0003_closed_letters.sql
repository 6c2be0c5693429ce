-- An operator closes what nobody can mend here, such as a record that its sender has sent again; what is resolved goes in time.
ALTER TABLE runtime.dead_letter
    ADD COLUMN closed_by TEXT NOT NULL DEFAULT '',
    ADD COLUMN note      TEXT NOT NULL DEFAULT '';
CREATE INDEX dead_letter_resolved ON runtime.dead_letter (resolved_at) WHERE resolved_at IS NOT NULL;
