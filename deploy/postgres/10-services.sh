#!/bin/sh
# One role and one database per service, from the URLs that the services themselves read (/run/secrets/<name>_database_url).
#
# The image runs it when the data folder is new. Run again by hand it sets the roles' passwords to what the files say:
#   docker-compose exec postgres /docker-entrypoint-initdb.d/10-services.sh
set -eu
: "${PGPASSWORD:=$(cat /run/secrets/postgres_password)}"
export PGPASSWORD

run() { psql -v ON_ERROR_STOP=1 -q --no-psqlrc -U postgres -d postgres "$@"; }

for service in profile catalog matching subsidy feedback; do
    url=$(cat "/run/secrets/${service}_database_url")
    password=${url#*://*:}
    password=${password%%@*}
    # Text is kept in order of its bytes, which is that of its characters and needs no C library to compare.
    # The password goes in by standard input, where no process list shows it.
    run <<SQL
\set role '$service'
\set password '$password'
SELECT format('CREATE ROLE %I LOGIN', :'role')
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'role') \gexec
ALTER ROLE :"role" NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'password';
SELECT format('CREATE DATABASE %I OWNER %I TEMPLATE template0 ENCODING ''UTF8'' LC_COLLATE ''C'' LC_CTYPE ''C.UTF-8''', :'role', :'role')
 WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'role') \gexec
REVOKE ALL ON DATABASE :"role" FROM PUBLIC;
SQL
    echo "role and database $service are ready"
done
run -c 'REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC'
