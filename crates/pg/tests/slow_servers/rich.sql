-- A database with everything that has ever been lost in a dump.
CREATE ROLE rich_owner LOGIN;
CREATE ROLE "odd ""role'" NOLOGIN;
GRANT rich_owner TO "odd ""role'";

CREATE SCHEMA app AUTHORIZATION rich_owner;
CREATE SCHEMA "odd ""schema'
é";

CREATE TYPE app.mood AS ENUM ('sad', 'ok', 'it''s fine');
CREATE DOMAIN app.positive AS int CHECK (VALUE > 0);

CREATE TABLE app.customers (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    mood app.mood DEFAULT 'ok',
    doubled int GENERATED ALWAYS AS (length(name) * 2) STORED,
    UNIQUE (name)
);
ALTER TABLE app.customers OWNER TO rich_owner;
COMMENT ON TABLE app.customers IS 'quotes '' and "and" \ backslashes';
GRANT SELECT ON app.customers TO "odd ""role'";
GRANT SELECT (id) ON app.customers TO PUBLIC;
INSERT INTO app.customers (name) SELECT 'customer ' || n FROM generate_series(1, 1000) n;

CREATE TABLE app.orders (
    id serial PRIMARY KEY,
    customer int NOT NULL REFERENCES app.customers,
    amount app.positive NOT NULL,
    note text
);
INSERT INTO app.orders (customer, amount, note)
    SELECT 1 + n % 1000, 1 + n, CASE WHEN n % 7 = 0 THEN NULL ELSE repeat('x', n % 200) END FROM generate_series(1, 5000) n;
CREATE INDEX ON app.orders (customer) WHERE amount > 10;

-- What COPY escapes: the end mark, newlines, tabs, carriage returns, NULL's spelling, emptiness.
CREATE TABLE public.tricky (line text);
INSERT INTO tricky VALUES ('\.'), (''), (E'\n'), (E'\n\n\n'), (E'a\tb'), (E'\r\n'), ('\N'), (NULL), (E'\\.\n\n\n'), ('ünïcødé');
CREATE TABLE public.only_empty_lines (line text);
INSERT INTO only_empty_lines SELECT '' FROM generate_series(1, 7);
CREATE TABLE public.empty (id int PRIMARY KEY, at timestamptz);
CREATE TABLE public.no_columns ();
INSERT INTO no_columns DEFAULT VALUES;
INSERT INTO no_columns DEFAULT VALUES;
CREATE TABLE public.wide (id int, blob bytea);
INSERT INTO wide SELECT n, decode(repeat(md5(n::text), 40000), 'hex') FROM generate_series(1, 3) n;

CREATE TABLE "odd ""schema'
é"."tab""le' with
newline; \. --" ("col ""umn" text, "b\c" int);
INSERT INTO "odd ""schema'
é"."tab""le' with
newline; \. --" VALUES ('one', 1), (E'two\nlines', 2);

-- The longest names: 63 bytes.
CREATE SCHEMA "sééééééééééééééééééééééééééééééé";
CREATE TABLE "sééééééééééééééééééééééééééééééé"."tüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüü" (n int PRIMARY KEY);
INSERT INTO "sééééééééééééééééééééééééééééééé"."tüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüü" VALUES (1), (2);

CREATE TABLE app.events (at date NOT NULL, kind int, payload jsonb) PARTITION BY RANGE (at);
CREATE TABLE app.events_2025 PARTITION OF app.events FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE app.events_2026 PARTITION OF app.events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01') PARTITION BY HASH (kind);
CREATE TABLE app.events_2026_0 PARTITION OF app.events_2026 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE app.events_2026_1 PARTITION OF app.events_2026 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE INDEX ON app.events (kind);
INSERT INTO app.events SELECT date '2025-01-01' + n, n, json_build_object('n', n) FROM generate_series(0, 700) n;

CREATE TABLE public.parent (a int);
CREATE TABLE public.child (b int) INHERITS (parent);
INSERT INTO parent VALUES (1), (2);
INSERT INTO child VALUES (3, 4);

CREATE SEQUENCE app.counter START 10 INCREMENT 5;
SELECT nextval('app.counter'), nextval('app.counter');
CREATE UNLOGGED TABLE public.unlogged (n int);
INSERT INTO unlogged VALUES (1);

CREATE FUNCTION app.is_known(int) RETURNS bool LANGUAGE sql STABLE AS $$ SELECT $1 < 1000000 $$;
CREATE TABLE app.checked (n int CHECK (app.is_known(n)));
INSERT INTO app.checked SELECT generate_series(1, 50);
CREATE FUNCTION app.touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.note := coalesce(NEW.note, '') || '!'; RETURN NEW; END $$;
CREATE TRIGGER touch BEFORE INSERT ON app.orders FOR EACH ROW EXECUTE FUNCTION app.touch();
CREATE RULE quiet AS ON DELETE TO app.checked DO INSTEAD NOTHING;

CREATE VIEW app.totals AS SELECT customer, sum(amount) AS total FROM app.orders GROUP BY customer;
CREATE MATERIALIZED VIEW app.biggest AS SELECT * FROM app.totals ORDER BY total DESC LIMIT 10;
CREATE UNIQUE INDEX ON app.biggest (customer);
CREATE MATERIALIZED VIEW app.unfilled AS SELECT 1 AS one WITH NO DATA;

ALTER TABLE app.customers ENABLE ROW LEVEL SECURITY;
CREATE POLICY all_of_them ON app.customers USING (true);

SELECT lo_from_bytea(424242, convert_to('large object one', 'UTF8'));
SELECT lo_from_bytea(4000000000, decode(repeat('00ff0a5c2e', 100000), 'hex'));
SELECT lo_from_bytea(424244, '');
ALTER LARGE OBJECT 424242 OWNER TO rich_owner;
COMMENT ON LARGE OBJECT 424242 IS 'it''s large';
GRANT SELECT ON LARGE OBJECT 424242 TO PUBLIC;

CREATE PUBLICATION everything FOR ALL TABLES;
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pg_trgm') THEN
        CREATE EXTENSION pg_trgm SCHEMA app;
        CREATE INDEX by_trigram ON app.customers USING gin (name app.gin_trgm_ops);
    END IF;
END $$;
ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT SELECT ON TABLES TO PUBLIC;
