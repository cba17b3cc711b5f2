#!/bin/bash
# PostgreSQL runs this once, when its volume is empty: a database and a role for Dagster, and for lakeFS.
set -euo pipefail

make_database() {
  psql --username "$POSTGRES_USER" --set ON_ERROR_STOP=1 --set name="$1" --set password="$2" <<'SQL'
CREATE ROLE :"name" LOGIN PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name";
REVOKE ALL ON DATABASE :"name" FROM PUBLIC;
SQL
}

make_database dagster "$DAGSTER_POSTGRES_PASSWORD"
make_database lakefs "$LAKEFS_POSTGRES_PASSWORD"
