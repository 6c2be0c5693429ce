-- The id of a grant rises with its creation (UUID version 7), so that grants are listed by it alone: one index entry less a grant, and a
-- narrower one.
DROP INDEX grant_in_order;
DROP INDEX grant_of_enterprise;
CREATE INDEX grant_of_enterprise ON subsidy_grant (enterprise_id, grant_id);
-- Reports ask for a time of creation; a summary of blocks is enough for them.
CREATE INDEX grant_created ON subsidy_grant USING brin (created_at) WITH (autosummarize = on);
