-- What servers are made with, and what operators see of Compute.

-- Sizes of servers. A server keeps a copy of what it was made with, so a flavor may go at any time.
CREATE TABLE flavors (
  id            text PRIMARY KEY,
  name          text NOT NULL UNIQUE,
  description   text,
  vcpus         integer NOT NULL CHECK (vcpus > 0),
  ram_mib       integer NOT NULL CHECK (ram_mib > 0),
  disk_gib      integer NOT NULL CHECK (disk_gib >= 0),
  ephemeral_gib integer NOT NULL DEFAULT 0 CHECK (ephemeral_gib >= 0),
  swap_mib      integer NOT NULL DEFAULT 0 CHECK (swap_mib >= 0),
  rxtx_factor   double precision NOT NULL DEFAULT 1,
  is_public     boolean NOT NULL DEFAULT true,
  extra_specs   jsonb NOT NULL DEFAULT '{}',
  created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
  updated_at    timestamptz
);

-- Which projects may use a flavor that is not public.
CREATE TABLE flavor_access (
  flavor_id  text NOT NULL REFERENCES flavors ON DELETE CASCADE,
  project_id text NOT NULL,
  PRIMARY KEY (flavor_id, project_id)
);
CREATE INDEX ON flavor_access (project_id);

-- The sizes that every cloud has had from its first day; the smallest are for tests.
INSERT INTO flavors (id, name, vcpus, ram_mib, disk_gib) VALUES
  ('1',  'm1.tiny',   1,   512,   1),
  ('2',  'm1.small',  1,  2048,  20),
  ('3',  'm1.medium', 2,  4096,  40),
  ('4',  'm1.large',  4,  8192,  80),
  ('5',  'm1.xlarge', 8, 16384, 160),
  ('42', 'm1.nano',   1,   128,   1),
  ('84', 'm1.micro',  1,   192,   1);

-- Public keys that users have put into their servers. They belong to users, not to projects; private keys are handed out once and not kept.
CREATE TABLE keypairs (
  id          integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  user_id     text NOT NULL REFERENCES users ON DELETE CASCADE,
  name        text NOT NULL,
  type        text NOT NULL CHECK (type IN ('ssh', 'x509')),
  public_key  text NOT NULL,
  fingerprint text NOT NULL,
  created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
  UNIQUE (user_id, name)
);

-- Servers that are to be placed together, or apart.
CREATE TABLE server_groups (
  id         uuid PRIMARY KEY,
  project_id text NOT NULL,
  user_id    text NOT NULL,
  name       text NOT NULL,
  policy     text NOT NULL CHECK (policy IN ('affinity', 'anti-affinity', 'soft-affinity', 'soft-anti-affinity')),
  rules      jsonb NOT NULL DEFAULT '{}',
  created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX ON server_groups (project_id);

CREATE TABLE server_group_members (
  server_group_id uuid NOT NULL REFERENCES server_groups ON DELETE CASCADE,
  server_id       uuid NOT NULL,
  PRIMARY KEY (server_group_id, server_id)
);
CREATE INDEX ON server_group_members (server_id);

-- Of Compute's service: the operator knows that it is gone, whatever it says of itself.
ALTER TABLE service_states ADD COLUMN forced_down boolean NOT NULL DEFAULT false;

-- Hosts that operators see as one, or put into a zone.
CREATE TABLE host_aggregates (
  id                integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  uuid              uuid NOT NULL UNIQUE,
  name              text NOT NULL UNIQUE,
  availability_zone text,
  hosts             text[] NOT NULL DEFAULT '{}',
  metadata          jsonb NOT NULL DEFAULT '{}',
  created_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
  updated_at        timestamptz
);
