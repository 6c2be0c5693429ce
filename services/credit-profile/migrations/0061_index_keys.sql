-- Which key made what finds a phone: it can be changed. A program of before this migration knows of the first alone.
ALTER TABLE legal_representative ADD COLUMN index_version INTEGER NOT NULL DEFAULT 1 CHECK (index_version > 0);
