-- Whether it was last told that what is available is kept for who waits. Of budgets where somebody waits already the next transaction
-- that locks them finds out, and tells.
ALTER TABLE budget ADD COLUMN kept BOOLEAN NOT NULL DEFAULT false;
