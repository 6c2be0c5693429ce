-- What matching told of enterprises named to institutions as candidates of products, and stands on the trail: each once.
CREATE TABLE candidates_named (
    naming_id UUID PRIMARY KEY
);
