-- The foundation: who owns what, and the tables an event passes through on its way to a vendor call.
--
-- Every row carries organization_id and space_id, and tenant_id where a customer owns it. Row-level
-- security compares them with three settings of the transaction (app.organization_id, app.space_id,
-- app.tenant_id); with nothing set, nothing is visible. After COMMIT a SET LOCAL value reads '' and not
-- NULL, hence nullif. Primary keys lead with the narrowest owner, so every scan a policy allows is an
-- index scan.

SET LOCAL lock_timeout = '5s';

CREATE TABLE organizations (
    id          uuid PRIMARY KEY,
    name        text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    created_at  timestamptz NOT NULL
);

CREATE TABLE spaces (
    organization_id uuid NOT NULL REFERENCES organizations (id),
    id              uuid NOT NULL,
    name            text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    created_at      timestamptz NOT NULL,
    PRIMARY KEY (organization_id, id),
    UNIQUE (id)
);

CREATE TABLE tenants (
    organization_id uuid NOT NULL,
    space_id        uuid NOT NULL,
    id              uuid NOT NULL,
    external_id     text NOT NULL CHECK (length(external_id) BETWEEN 1 AND 200),
    name            text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    is_default      boolean NOT NULL DEFAULT false,
    status          text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'suspended')),
    created_at      timestamptz NOT NULL,
    PRIMARY KEY (space_id, id),
    UNIQUE (space_id, external_id),
    UNIQUE (id),
    UNIQUE (organization_id, space_id, id),
    -- lets a shared row prove, through a foreign key, that its owner is the space's default tenant
    UNIQUE (organization_id, space_id, id, is_default),
    FOREIGN KEY (organization_id, space_id) REFERENCES spaces (organization_id, id)
);
CREATE UNIQUE INDEX tenants_one_default ON tenants (space_id) WHERE is_default;

CREATE TABLE api_keys (
    organization_id uuid NOT NULL,
    space_id        uuid NOT NULL,
    id              uuid NOT NULL,
    tenant_id       uuid,
    name            text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    mode            text NOT NULL CHECK (mode IN ('test', 'live')),
    secret_sha256   bytea NOT NULL CHECK (length(secret_sha256) = 32),
    permissions     text[] NOT NULL,
    created_at      timestamptz NOT NULL,
    revoked_at      timestamptz,
    PRIMARY KEY (space_id, id),
    UNIQUE (id),
    FOREIGN KEY (organization_id, space_id) REFERENCES spaces (organization_id, id),
    FOREIGN KEY (organization_id, space_id, tenant_id) REFERENCES tenants (organization_id, space_id, id)
);

CREATE TABLE environments (
    organization_id uuid NOT NULL,
    space_id        uuid NOT NULL,
    name            text NOT NULL CHECK (name ~ '^[A-Za-z][A-Za-z0-9_-]{0,62}$'),
    created_at      timestamptz NOT NULL,
    PRIMARY KEY (space_id, name),
    FOREIGN KEY (organization_id, space_id) REFERENCES spaces (organization_id, id)
);

CREATE TABLE connectors (
    organization_id uuid NOT NULL,
    space_id        uuid NOT NULL,
    id              uuid NOT NULL,
    slug            text NOT NULL CHECK (slug ~ '^[a-z][a-z0-9]*(-[a-z0-9]+)*$'),
    name            text NOT NULL,
    description     text NOT NULL DEFAULT '',
    visibility      text NOT NULL DEFAULT 'private' CHECK (visibility IN ('private', 'public')),
    definition      jsonb NOT NULL,
    created_at      timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL,
    PRIMARY KEY (space_id, id),
    UNIQUE (space_id, slug),
    FOREIGN KEY (organization_id, space_id) REFERENCES spaces (organization_id, id)
);

CREATE TABLE data_keys (
    organization_id uuid NOT NULL,
    space_id        uuid NOT NULL,
    tenant_id       uuid NOT NULL,
    id              uuid NOT NULL,
    encrypted_key   bytea NOT NULL,
    created_at      timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (organization_id, space_id, tenant_id) REFERENCES tenants (organization_id, space_id, id)
);

CREATE TABLE connections (
    organization_id       uuid NOT NULL,
    space_id              uuid NOT NULL,
    tenant_id             uuid NOT NULL,
    id                    uuid NOT NULL,
    environment           text NOT NULL,
    connector_slug        text NOT NULL,
    name                  text NOT NULL DEFAULT 'default' CHECK (length(name) BETWEEN 1 AND 200),
    auth_method           text NOT NULL,
    config                jsonb NOT NULL DEFAULT '{}',
    credential_ciphertext bytea,
    credential_version    integer NOT NULL DEFAULT 1,
    status                text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'reauthorization_needed')),
    created_at            timestamptz NOT NULL,
    updated_at            timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, environment, connector_slug, name),
    FOREIGN KEY (organization_id, space_id, tenant_id) REFERENCES tenants (organization_id, space_id, id),
    FOREIGN KEY (space_id, environment) REFERENCES environments (space_id, name)
);

CREATE TABLE workflows (
    organization_id uuid NOT NULL,
    space_id        uuid NOT NULL,
    tenant_id       uuid NOT NULL,
    id              uuid NOT NULL,
    -- true where the owner is the space's default tenant: all customers of the space may run it
    is_shared       boolean NOT NULL,
    slug            text NOT NULL CHECK (slug ~ '^[a-z0-9]+(-[a-z0-9]+)*$' AND length(slug) <= 100),
    name            text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    description     text NOT NULL DEFAULT '',
    language        text NOT NULL CHECK (language IN ('javascript', 'typescript')),
    source          text NOT NULL,
    tier            text NOT NULL CHECK (tier IN ('instant', 'standard', 'long')),
    timeout_seconds integer NOT NULL CHECK (timeout_seconds BETWEEN 1 AND 21600),
    retry           jsonb,
    request_schema  jsonb,
    is_active       boolean NOT NULL DEFAULT true,
    archived_at     timestamptz,
    latest_version  integer NOT NULL DEFAULT 0,
    revision        integer NOT NULL DEFAULT 1,
    created_at      timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, slug),
    UNIQUE (space_id, id),
    UNIQUE (tenant_id, id, is_shared),
    FOREIGN KEY (organization_id, space_id, tenant_id, is_shared)
        REFERENCES tenants (organization_id, space_id, id, is_default)
);
CREATE INDEX workflows_shared ON workflows (space_id, slug) WHERE is_shared;

-- Source text by its hash: a version and a draft run both pin exactly what ran.
CREATE TABLE workflow_sources (
    organization_id uuid NOT NULL,
    space_id        uuid NOT NULL,
    tenant_id       uuid NOT NULL,
    is_shared       boolean NOT NULL,
    workflow_id     uuid NOT NULL,
    sha256          bytea NOT NULL CHECK (length(sha256) = 32),
    language        text NOT NULL,
    source          text NOT NULL,
    created_at      timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, workflow_id, sha256),
    FOREIGN KEY (tenant_id, workflow_id, is_shared) REFERENCES workflows (tenant_id, id, is_shared)
);
-- Its reader knows the space and the workflow, not whether the owner is itself or the default tenant.
CREATE INDEX workflow_sources_by_space ON workflow_sources (space_id, workflow_id, sha256);

CREATE TABLE workflow_versions (
    organization_id uuid NOT NULL,
    space_id        uuid NOT NULL,
    tenant_id       uuid NOT NULL,
    is_shared       boolean NOT NULL,
    workflow_id     uuid NOT NULL,
    number          integer NOT NULL CHECK (number >= 1),
    source_sha256   bytea NOT NULL,
    tier            text NOT NULL,
    timeout_seconds integer NOT NULL,
    retry           jsonb,
    request_schema  jsonb,
    published_at    timestamptz NOT NULL,
    published_by    text NOT NULL,
    PRIMARY KEY (tenant_id, workflow_id, number),
    FOREIGN KEY (tenant_id, workflow_id, is_shared) REFERENCES workflows (tenant_id, id, is_shared),
    FOREIGN KEY (tenant_id, workflow_id, source_sha256)
        REFERENCES workflow_sources (tenant_id, workflow_id, sha256)
);
CREATE INDEX workflow_versions_by_space ON workflow_versions (space_id, workflow_id, number);

CREATE TABLE deployments (
    organization_id uuid NOT NULL,
    space_id        uuid NOT NULL,
    tenant_id       uuid NOT NULL,
    is_shared       boolean NOT NULL,
    id              uuid NOT NULL,
    workflow_id     uuid NOT NULL,
    version_number  integer NOT NULL,
    environment     text NOT NULL,
    deployed_at     timestamptz NOT NULL,
    deployed_by     text NOT NULL,
    superseded_at   timestamptz,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, workflow_id, is_shared) REFERENCES workflows (tenant_id, id, is_shared),
    FOREIGN KEY (tenant_id, workflow_id, version_number)
        REFERENCES workflow_versions (tenant_id, workflow_id, number),
    FOREIGN KEY (space_id, environment) REFERENCES environments (space_id, name)
);
CREATE UNIQUE INDEX deployments_current ON deployments (tenant_id, workflow_id, environment)
    WHERE superseded_at IS NULL;
CREATE INDEX deployments_by_space ON deployments (space_id, workflow_id, environment)
    WHERE superseded_at IS NULL;

CREATE TABLE triggers (
    organization_id   uuid NOT NULL,
    space_id          uuid NOT NULL,
    tenant_id         uuid NOT NULL,
    id                uuid NOT NULL,
    environment       text NOT NULL,
    kind              text NOT NULL CHECK (kind IN ('webhook', 'scheduler', 'app_event')),
    name              text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    -- whose signature scheme a delivery follows: a connector's, or 'fastn' for the platform's own
    scheme            text NOT NULL,
    secret_ciphertext bytea NOT NULL,
    created_at        timestamptz NOT NULL,
    updated_at        timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (space_id, id),
    FOREIGN KEY (organization_id, space_id, tenant_id) REFERENCES tenants (organization_id, space_id, id),
    FOREIGN KEY (space_id, environment) REFERENCES environments (space_id, name)
);

CREATE TABLE webhook_routes (
    organization_id uuid NOT NULL,
    space_id        uuid NOT NULL,
    tenant_id       uuid NOT NULL,
    id              uuid NOT NULL,
    trigger_id      uuid NOT NULL,
    workflow_id     uuid NOT NULL,
    position        integer NOT NULL,
    body_filter     jsonb NOT NULL DEFAULT '{}',
    header_filter   jsonb NOT NULL DEFAULT '{}',
    created_at      timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, trigger_id, position),
    FOREIGN KEY (tenant_id, trigger_id) REFERENCES triggers (tenant_id, id) ON DELETE CASCADE,
    FOREIGN KEY (space_id, workflow_id) REFERENCES workflows (space_id, id)
);

CREATE TABLE events (
    organization_id uuid NOT NULL,
    space_id        uuid NOT NULL,
    tenant_id       uuid NOT NULL,
    id              uuid NOT NULL,
    environment     text NOT NULL,
    trigger_id      uuid,
    source          text NOT NULL CHECK (source IN ('webhook', 'schedule', 'poll', 'manual')),
    type            text NOT NULL,
    idempotency_key bytea NOT NULL CHECK (length(idempotency_key) = 32),
    priority        smallint NOT NULL CHECK (priority BETWEEN 1 AND 4),
    headers         json NOT NULL,
    -- json, not jsonb: the text is kept as it came, and is parsed once, by its reader
    payload         json NOT NULL,
    trace_id        text NOT NULL,
    received_at     timestamptz NOT NULL,
    stored_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    published_at    timestamptz,
    routed_at       timestamptz,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, idempotency_key),
    FOREIGN KEY (organization_id, space_id, tenant_id) REFERENCES tenants (organization_id, space_id, id)
);

-- What a bus that lost its memory must be given again.
CREATE INDEX events_unrouted ON events (tenant_id, id) WHERE routed_at IS NULL;

CREATE TABLE outbox (
    organization_id uuid NOT NULL,
    space_id        uuid NOT NULL,
    tenant_id       uuid NOT NULL,
    id              uuid NOT NULL,
    event_id        uuid NOT NULL,
    environment     text NOT NULL,
    trigger_id      uuid,
    source          text NOT NULL,
    type            text NOT NULL,
    idempotency_key bytea NOT NULL,
    priority        smallint NOT NULL,
    trace_id        text NOT NULL,
    received_at     timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, event_id) REFERENCES events (tenant_id, id)
);
-- The relay's queue: priority first, then age (ids are UUIDv7).
CREATE INDEX outbox_queue ON outbox (priority, id);

CREATE TABLE executions (
    organization_id uuid NOT NULL,
    space_id        uuid NOT NULL,
    tenant_id       uuid NOT NULL,
    id              uuid NOT NULL,
    environment     text NOT NULL,
    workflow_id     uuid NOT NULL,
    version_number  integer,
    source_sha256   bytea NOT NULL,
    tier            text NOT NULL CHECK (tier IN ('instant', 'standard', 'long')),
    status          text NOT NULL
        CHECK (status IN ('pending', 'running', 'completed', 'failed', 'cancelled', 'timed_out')),
    launch          integer NOT NULL DEFAULT 1,
    timeout_seconds integer NOT NULL,
    triggered_by    text NOT NULL,
    event_id        uuid,
    route_id        uuid,
    input           json NOT NULL,
    headers         json NOT NULL,
    output          json,
    error           json,
    console         json NOT NULL DEFAULT '[]',
    random_seed     bytea NOT NULL,
    trace_id        text NOT NULL,
    created_at      timestamptz NOT NULL,
    started_at      timestamptz,
    finished_at     timestamptz,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (organization_id, space_id, tenant_id) REFERENCES tenants (organization_id, space_id, id)
);
-- One run per event and route, however often the router sees the event.
CREATE UNIQUE INDEX executions_once ON executions (tenant_id, event_id, route_id) WHERE event_id IS NOT NULL;
CREATE INDEX executions_by_workflow ON executions (tenant_id, workflow_id, id);
CREATE INDEX executions_by_status ON executions (tenant_id, status, id);
CREATE INDEX executions_unfinished ON executions (tenant_id, id) WHERE status IN ('pending', 'running');

-- The execution log's rows; security_invoker, or the view would show every tenant's.
CREATE VIEW execution_summaries WITH (security_invoker = true) AS
    SELECT e.tenant_id, e.id, e.workflow_id, coalesce(w.name, '') AS workflow_name, e.tier,
           e.version_number AS version, e.environment, e.status, e.triggered_by, e.event_id, e.trace_id,
           e.created_at, e.started_at, e.finished_at,
           round(extract(epoch FROM e.finished_at - e.started_at) * 1000)::integer AS duration_ms
    FROM executions e LEFT JOIN workflows w ON w.space_id = e.space_id AND w.id = e.workflow_id;

CREATE TABLE execution_steps (
    organization_id  uuid NOT NULL,
    space_id         uuid NOT NULL,
    tenant_id        uuid NOT NULL,
    execution_id     uuid NOT NULL,
    attempt          integer NOT NULL,
    sequence         integer NOT NULL,
    operation        text NOT NULL,
    arguments_sha256 bytea NOT NULL,
    arguments        json NOT NULL,
    result           json,
    error            json,
    -- what the vendor was asked and answered, redacted and capped
    exchange         json,
    started_at       timestamptz NOT NULL,
    duration_ms      double precision NOT NULL,
    PRIMARY KEY (tenant_id, execution_id, attempt, sequence),
    FOREIGN KEY (tenant_id, execution_id) REFERENCES executions (tenant_id, id)
);

CREATE TABLE dead_letters (
    organization_id uuid NOT NULL,
    space_id        uuid NOT NULL,
    tenant_id       uuid NOT NULL,
    id              uuid NOT NULL,
    stage           text NOT NULL CHECK (stage IN ('receive', 'relay', 'route', 'execute')),
    event_id        uuid,
    execution_id    uuid,
    payload         json NOT NULL,
    error           json NOT NULL,
    created_at      timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (organization_id, space_id, tenant_id) REFERENCES tenants (organization_id, space_id, id)
);

-- ── Row-level security ────────────────────────────────────────────────────────────────────────────

DO $$
DECLARE
    organization constant text := '(SELECT nullif(current_setting(''app.organization_id'', true), '''')::uuid)';
    space        constant text := '(SELECT nullif(current_setting(''app.space_id'', true), '''')::uuid)';
    tenant       constant text := '(SELECT nullif(current_setting(''app.tenant_id'', true), '''')::uuid)';
    in_space     constant text := format('organization_id = %s AND space_id = %s', organization, space);
    in_tenant    constant text := format('%s AND tenant_id = %s', in_space, tenant);
    name text;
    rule text;
BEGIN
    FOREACH name IN ARRAY ARRAY['organizations', 'spaces', 'tenants', 'api_keys', 'environments', 'connectors',
        'data_keys', 'connections', 'workflows', 'workflow_sources', 'workflow_versions', 'deployments',
        'triggers', 'webhook_routes', 'events', 'outbox', 'executions', 'execution_steps', 'dead_letters']
    LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        rule := CASE
            WHEN name = 'organizations' THEN format('id = %s', organization)
            WHEN name = 'spaces' THEN
                format('organization_id = %s AND (%s IS NULL OR id = %s)', organization, space, space)
            WHEN name = 'tenants' THEN format('%s AND (%s IS NULL OR id = %s)', in_space, tenant, tenant)
            WHEN name = 'api_keys' THEN format('%s AND (%s IS NULL OR tenant_id = %s)', in_space, tenant, tenant)
            WHEN name IN ('environments', 'connectors') THEN in_space
            ELSE in_tenant
        END;
        EXECUTE format('CREATE POLICY %I ON %I TO fastn_app USING (%s) WITH CHECK (%s)',
            name || '_owner', name, rule, rule);
    END LOOP;
    -- What the space's default tenant owns, every customer of the space may read (never write).
    FOREACH name IN ARRAY ARRAY['workflows', 'workflow_sources', 'workflow_versions', 'deployments'] LOOP
        EXECUTE format('CREATE POLICY %I ON %I FOR SELECT TO fastn_app USING (%s AND is_shared)',
            name || '_shared', name, in_space);
    END LOOP;
END
$$;

-- An API key must be recognised before its owner is known; the columns are limited below.
CREATE POLICY api_keys_ingress ON api_keys FOR SELECT TO fastn_ingress USING (true);
-- The relay moves every customer's outbox rows to the bus, and sees no other table.
CREATE POLICY outbox_relay ON outbox TO fastn_relay USING (true) WITH CHECK (false);

GRANT USAGE ON SCHEMA public TO fastn_app, fastn_ingress, fastn_relay;
GRANT SELECT (id, organization_id, space_id, tenant_id, mode, secret_sha256, permissions, revoked_at)
    ON api_keys TO fastn_ingress;
GRANT SELECT, DELETE ON outbox TO fastn_relay;
-- SELECT … FOR UPDATE needs an update privilege on one column; the policy's WITH CHECK refuses every update.
GRANT UPDATE (priority) ON outbox TO fastn_relay;

GRANT SELECT, INSERT, UPDATE ON organizations, spaces, tenants, environments TO fastn_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON api_keys, connectors, connections, workflows, triggers, webhook_routes
    TO fastn_app;
-- A published version, its source and a data key never change.
GRANT SELECT, INSERT ON data_keys, workflow_sources, workflow_versions TO fastn_app;
GRANT SELECT, INSERT, UPDATE ON deployments, events, executions TO fastn_app;
GRANT SELECT, INSERT ON outbox, execution_steps, dead_letters TO fastn_app;
GRANT SELECT ON execution_summaries TO fastn_app;
