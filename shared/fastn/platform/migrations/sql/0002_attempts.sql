-- Cancelled, repeated and re-run executions. Every column has a default or may be null, so that code of the
-- release before goes on working.

SET LOCAL lock_timeout = '5s';

ALTER TABLE executions
    ADD COLUMN attempt            integer NOT NULL DEFAULT 1 CHECK (attempt >= 1),
    -- the policy of the version that runs; null: a failed attempt is final
    ADD COLUMN retry              jsonb,
    -- the failed attempts before the present one
    ADD COLUMN attempts           json NOT NULL DEFAULT '[]',
    -- null in the first attempt, whose start is started_at
    ADD COLUMN attempt_started_at timestamptz,
    ADD COLUMN next_attempt_at    timestamptz,
    ADD COLUMN rerun_of           uuid,
    -- set where a journal was copied: the times that the program has already seen
    ADD COLUMN program_created_at timestamptz,
    ADD COLUMN program_started_at timestamptz;

-- Attempt 0 holds what an execution took over from the one it repeats.
ALTER TABLE execution_steps ADD COLUMN receipt_of_attempt integer;
