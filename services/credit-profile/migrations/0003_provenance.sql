-- Where the features of the profile come from, and which are too old to be used: zhirong.profile.v1.GetProfileResponse without
-- the profile; empty until the profile is computed again.
ALTER TABLE profile ADD COLUMN provenance BYTEA NOT NULL DEFAULT '';
