-- Named secrets: what workflows read with fastn.secrets.get. A secret belongs to one tenant and environment; its
-- values are ciphertexts, one row per version, so that a run goes on with the version it read before a rotation.

SET LOCAL lock_timeout = '5s';

CREATE TABLE secrets (
    organization_id uuid NOT NULL,
    space_id        uuid NOT NULL,
    tenant_id       uuid NOT NULL,
    id              uuid NOT NULL,
    environment     text NOT NULL,
    name            text NOT NULL CHECK (name ~ '^[A-Za-z_][A-Za-z0-9_.-]{0,127}$'),
    version         integer NOT NULL DEFAULT 1 CHECK (version >= 1),
    created_at      timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, environment, name),
    FOREIGN KEY (organization_id, space_id, tenant_id) REFERENCES tenants (organization_id, space_id, id),
    FOREIGN KEY (space_id, environment) REFERENCES environments (space_id, name)
);

CREATE TABLE secret_versions (
    organization_id uuid NOT NULL,
    space_id        uuid NOT NULL,
    tenant_id       uuid NOT NULL,
    secret_id       uuid NOT NULL,
    version         integer NOT NULL CHECK (version >= 1),
    ciphertext      bytea NOT NULL,
    created_at      timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, secret_id, version),
    FOREIGN KEY (tenant_id, secret_id) REFERENCES secrets (tenant_id, id) ON DELETE CASCADE
);

DO $$
DECLARE
    organization constant text := '(SELECT nullif(current_setting(''app.organization_id'', true), '''')::uuid)';
    space        constant text := '(SELECT nullif(current_setting(''app.space_id'', true), '''')::uuid)';
    tenant       constant text := '(SELECT nullif(current_setting(''app.tenant_id'', true), '''')::uuid)';
    in_tenant    constant text :=
        format('organization_id = %s AND space_id = %s AND tenant_id = %s', organization, space, tenant);
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['secrets', 'secret_versions'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY %I ON %I TO fastn_app USING (%s) WITH CHECK (%s)',
            name || '_owner', name, in_tenant, in_tenant);
    END LOOP;
END
$$;

GRANT SELECT, INSERT, UPDATE, DELETE ON secrets TO fastn_app;
-- A version never changes; what is old enough is deleted.
GRANT SELECT, INSERT, DELETE ON secret_versions TO fastn_app;
