-- The three roles the functions connect as. None owns a table, none can bypass row-level security, none is
-- a member of another. Run by fastn_owner, which has CREATEROLE and no more, as in Aurora.
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['fastn_app', 'fastn_ingress', 'fastn_relay'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
            EXECUTE format('CREATE ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS', name);
        END IF;
        -- Open sessions of warm functions would keep Aurora from pausing.
        EXECUTE format('ALTER ROLE %I SET idle_session_timeout = %L', name, '60s');
        EXECUTE format('ALTER ROLE %I SET statement_timeout = %L', name, '20s');
        EXECUTE format('ALTER ROLE %I SET idle_in_transaction_session_timeout = %L', name, '20s');
    END LOOP;
END
$$;
