-- Where each tenant's own database (fastn.db) lies: one schema and one role per environment, in the database
-- fastn_tenants. The names are random, so what lies there tells nobody whose it is; this table alone does.

SET LOCAL lock_timeout = '5s';

CREATE TABLE tenant_databases (
    organization_id     uuid NOT NULL,
    space_id            uuid NOT NULL,
    tenant_id           uuid NOT NULL,
    environment         text NOT NULL,
    schema_name         text NOT NULL CHECK (length(schema_name) BETWEEN 1 AND 63),
    role_name           text NOT NULL CHECK (length(role_name) BETWEEN 1 AND 63),
    password_ciphertext bytea NOT NULL,
    created_at          timestamptz NOT NULL,
    -- set once schema and role exist; until then whoever comes makes them, any number of times
    provisioned_at      timestamptz,
    PRIMARY KEY (tenant_id, environment),
    FOREIGN KEY (organization_id, space_id, tenant_id) REFERENCES tenants (organization_id, space_id, id),
    FOREIGN KEY (space_id, environment) REFERENCES environments (space_id, name)
);

DO $$
DECLARE
    organization constant text := '(SELECT nullif(current_setting(''app.organization_id'', true), '''')::uuid)';
    space        constant text := '(SELECT nullif(current_setting(''app.space_id'', true), '''')::uuid)';
    tenant       constant text := '(SELECT nullif(current_setting(''app.tenant_id'', true), '''')::uuid)';
    in_tenant    constant text :=
        format('organization_id = %s AND space_id = %s AND tenant_id = %s', organization, space, tenant);
BEGIN
    ALTER TABLE tenant_databases ENABLE ROW LEVEL SECURITY;
    ALTER TABLE tenant_databases FORCE ROW LEVEL SECURITY;
    EXECUTE format('CREATE POLICY tenant_databases_owner ON tenant_databases TO fastn_app USING (%s) WITH CHECK (%s)',
        in_tenant, in_tenant);
END
$$;

GRANT SELECT, INSERT ON tenant_databases TO fastn_app;
-- The names and the password of a database never change: data lies behind them.
GRANT UPDATE (provisioned_at) ON tenant_databases TO fastn_app;
