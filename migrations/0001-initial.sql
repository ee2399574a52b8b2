-- The first schema. Times are UTC with microseconds, as Block Storage shows them. Ids of OpenStack resources are UUIDs;
-- identity's are 32 hex digits (the domain `default` aside), as Keystone's are.

-- identity ---------------------------------------------------------------------------------------------------------

CREATE TABLE domains (
  id          text PRIMARY KEY,
  name        text NOT NULL UNIQUE,
  description text NOT NULL DEFAULT '',
  enabled     boolean NOT NULL DEFAULT true
);

CREATE TABLE projects (
  id          text PRIMARY KEY,
  domain_id   text NOT NULL REFERENCES domains,
  parent_id   text NOT NULL,
  name        text NOT NULL,
  description text NOT NULL DEFAULT '',
  enabled     boolean NOT NULL DEFAULT true,
  extra       jsonb NOT NULL DEFAULT '{}',
  UNIQUE (domain_id, name)
);

CREATE TABLE users (
  id                 text PRIMARY KEY,
  domain_id          text NOT NULL REFERENCES domains,
  name               text NOT NULL,
  -- scrypt$N$r$p$salt$hash, base64url; null = cannot log in by password
  password_hash      text,
  -- what the operator's password file last held for the first admin; the file counts again when it changes
  bootstrap_password_hash text,
  enabled            boolean NOT NULL DEFAULT true,
  default_project_id text,
  extra              jsonb NOT NULL DEFAULT '{}',
  UNIQUE (domain_id, name)
);

CREATE TABLE roles (
  id          text PRIMARY KEY,
  name        text NOT NULL UNIQUE,
  description text
);

CREATE TABLE role_implications (
  prior_role_id   text NOT NULL REFERENCES roles ON DELETE CASCADE,
  implied_role_id text NOT NULL REFERENCES roles ON DELETE CASCADE,
  PRIMARY KEY (prior_role_id, implied_role_id)
);

-- Exactly one target: a project, a domain, or (both null) the system.
CREATE TABLE role_assignments (
  user_id    text NOT NULL REFERENCES users ON DELETE CASCADE,
  role_id    text NOT NULL REFERENCES roles ON DELETE CASCADE,
  project_id text REFERENCES projects ON DELETE CASCADE,
  domain_id  text REFERENCES domains ON DELETE CASCADE,
  CHECK (project_id IS NULL OR domain_id IS NULL),
  UNIQUE NULLS NOT DISTINCT (user_id, role_id, project_id, domain_id)
);
CREATE INDEX ON role_assignments (project_id);

CREATE TABLE application_credentials (
  id           text PRIMARY KEY,
  user_id      text NOT NULL REFERENCES users ON DELETE CASCADE,
  project_id   text NOT NULL REFERENCES projects ON DELETE CASCADE,
  name         text NOT NULL,
  description  text,
  secret_hash  text NOT NULL,
  role_ids     text[] NOT NULL,
  unrestricted boolean NOT NULL DEFAULT false,
  expires_at   timestamptz,
  UNIQUE (user_id, name)
);

CREATE TABLE tokens (
  -- SHA-256 of the token; the token itself is never stored
  hash                      bytea PRIMARY KEY,
  user_id                   text NOT NULL REFERENCES users ON DELETE CASCADE,
  project_id                text REFERENCES projects ON DELETE CASCADE,
  domain_id                 text REFERENCES domains ON DELETE CASCADE,
  system_scope              boolean NOT NULL DEFAULT false,
  application_credential_id text REFERENCES application_credentials ON DELETE CASCADE,
  methods                   text[] NOT NULL,
  audit_ids                 text[] NOT NULL,
  issued_at                 timestamptz NOT NULL,
  expires_at                timestamptz NOT NULL
);
CREATE INDEX ON tokens (expires_at);
CREATE INDEX ON tokens (user_id);

-- quotas -----------------------------------------------------------------------------------------------------------

-- -1 = unlimited. `project_id` '' holds the defaults of class `default`, where they differ from the built-in ones.
CREATE TABLE quota_limits (
  project_id text NOT NULL,
  resource   text NOT NULL,
  hard_limit bigint NOT NULL CHECK (hard_limit >= -1),
  PRIMARY KEY (project_id, resource)
);

-- jobs and events --------------------------------------------------------------------------------------------------

CREATE TABLE sagas (
  id               uuid PRIMARY KEY,
  kind             text NOT NULL,
  subject_id       text NOT NULL,
  project_id       text,
  input            jsonb NOT NULL,
  -- by step name
  outputs          jsonb NOT NULL DEFAULT '{}',
  status           text NOT NULL DEFAULT 'pending'
                   CHECK (status IN ('pending', 'running', 'undoing', 'done', 'failed', 'cancelled')),
  step             text,
  cancel_requested boolean NOT NULL DEFAULT false,
  failure          text,
  -- the advisory-lock number of the process that runs it: held for as long as that process lives
  owner            bigint,
  epoch            integer NOT NULL DEFAULT 0,
  progress         jsonb,
  created_at       timestamptz NOT NULL DEFAULT now(),
  updated_at       timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON sagas (subject_id);
CREATE INDEX ON sagas (status) WHERE status IN ('pending', 'running', 'undoing');

CREATE TABLE events (
  id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  project_id    text,
  kind          text NOT NULL,
  resource_type text NOT NULL,
  resource_id   text NOT NULL,
  payload       jsonb NOT NULL DEFAULT '{}',
  created_at    timestamptz NOT NULL DEFAULT now()
);

-- disks: layers are files, points are moments ----------------------------------------------------------------------

CREATE TABLE layers (
  id         uuid PRIMARY KEY,
  parent_id  uuid REFERENCES layers,
  home       uuid NOT NULL,
  format     text NOT NULL CHECK (format IN ('raw', 'qcow2')),
  size_bytes bigint NOT NULL,
  -- planned: its file is being made · top: the writable end of a volume · frozen: never written again ·
  -- merging: its bytes are being folded into its parent · doomed: its files are being removed
  state      text NOT NULL CHECK (state IN ('planned', 'top', 'frozen', 'merging', 'doomed')),
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON layers (parent_id);

-- A point is the content of a disk at one moment. Its journal says which ranges changed since the parent point
-- (encoded ExtentSet; null = not known); a point without a parent stands on an all-zero disk.
CREATE TABLE points (
  id         uuid PRIMARY KEY,
  parent_id  uuid REFERENCES points,
  -- the frozen layer through which the bytes can be read; null once they cannot
  layer_id   uuid REFERENCES layers,
  size_bytes bigint NOT NULL,
  journal    bytea,
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON points (parent_id);
CREATE INDEX ON points (layer_id);

-- Who needs the bytes of a point: 'snapshot:<id>', 'image:<id>', 'backup:<id>' while it is read. Without holders a point may lose its layer;
-- its row stays for as long as journals lead through it.
CREATE TABLE point_holds (
  point_id uuid NOT NULL REFERENCES points,
  holder   text NOT NULL,
  PRIMARY KEY (point_id, holder)
);

-- What a point's content is known as in a repository.
CREATE TABLE point_roots (
  point_id      uuid NOT NULL REFERENCES points ON DELETE CASCADE,
  repository_id uuid NOT NULL,
  domain        text NOT NULL,
  session       text NOT NULL,
  root          text NOT NULL,
  PRIMARY KEY (point_id, repository_id, domain, session)
);
CREATE INDEX ON point_roots (session);

-- block storage ----------------------------------------------------------------------------------------------------

CREATE TABLE volume_types (
  id          uuid PRIMARY KEY,
  name        text NOT NULL UNIQUE,
  description text,
  is_public   boolean NOT NULL DEFAULT true,
  extra_specs jsonb NOT NULL DEFAULT '{}',
  created_at  timestamptz NOT NULL DEFAULT now(),
  updated_at  timestamptz
);
INSERT INTO volume_types (id, name, description)
VALUES ('7d1c4b0e-5a7f-4d52-9c2e-0f6f7f1d3a11', '__DEFAULT__', 'Default Volume Type');

CREATE TABLE volumes (
  id                uuid PRIMARY KEY,
  project_id        text NOT NULL,
  user_id           text NOT NULL,
  name              text,
  description       text,
  status            text NOT NULL,
  -- where a backup or upload returns to
  previous_status   text,
  size_gib          integer NOT NULL,
  availability_zone text NOT NULL,
  volume_type_id    uuid NOT NULL REFERENCES volume_types,
  bootable          boolean NOT NULL DEFAULT false,
  readonly          boolean NOT NULL DEFAULT false,
  snapshot_id       uuid,
  source_volid      uuid,
  metadata          jsonb NOT NULL DEFAULT '{}',
  image_metadata    jsonb NOT NULL DEFAULT '{}',
  -- null until the disk is made, and for volumes in status error that never had one
  top_layer_id      uuid REFERENCES layers,
  -- the newest point below the top; null = the top stands on an all-zero disk
  head_point_id     uuid REFERENCES points,
  created_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
  updated_at        timestamptz
);
CREATE INDEX ON volumes (project_id, created_at DESC, id DESC);

CREATE TABLE volume_attachments (
  id            uuid PRIMARY KEY,
  volume_id     uuid NOT NULL REFERENCES volumes ON DELETE CASCADE,
  instance_uuid uuid,
  host_name     text,
  mountpoint    text,
  mode          text NOT NULL DEFAULT 'rw' CHECK (mode IN ('rw', 'ro')),
  attached_at   timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX ON volume_attachments (volume_id);

-- The process that serves a volume's bytes: at most one a volume. It outlives the service.
CREATE TABLE volume_exports (
  volume_id    uuid PRIMARY KEY REFERENCES volumes ON DELETE CASCADE,
  export_id    text NOT NULL,
  socket_path  text NOT NULL,
  monitor_path text NOT NULL,
  process_id   integer NOT NULL,
  read_only    boolean NOT NULL DEFAULT false,
  created_at   timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE snapshots (
  id          uuid PRIMARY KEY,
  project_id  text NOT NULL,
  user_id     text NOT NULL,
  volume_id   uuid NOT NULL REFERENCES volumes,
  name        text,
  description text,
  status      text NOT NULL,
  progress    text NOT NULL DEFAULT '0%',
  size_gib    integer NOT NULL,
  metadata    jsonb NOT NULL DEFAULT '{}',
  point_id    uuid REFERENCES points,
  created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
  updated_at  timestamptz
);
CREATE INDEX ON snapshots (project_id, created_at DESC, id DESC);
CREATE INDEX ON snapshots (volume_id);

CREATE TABLE images (
  id               uuid PRIMARY KEY,
  owner            text NOT NULL,
  name             text,
  status           text NOT NULL,
  visibility       text NOT NULL CHECK (visibility IN ('public', 'private', 'shared', 'community')),
  protected        boolean NOT NULL DEFAULT false,
  hidden           boolean NOT NULL DEFAULT false,
  container_format text,
  disk_format      text,
  size_bytes       bigint,
  virtual_bytes    bigint,
  checksum         text,
  os_hash_algo     text,
  os_hash_value    text,
  min_disk         integer NOT NULL DEFAULT 0,
  min_ram          integer NOT NULL DEFAULT 0,
  tags             text[] NOT NULL DEFAULT '{}',
  properties       jsonb NOT NULL DEFAULT '{}',
  -- where volumes made from the image start
  point_id         uuid REFERENCES points,
  created_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
  updated_at       timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX ON images (owner, created_at DESC, id DESC);

CREATE TABLE repositories (
  id         uuid PRIMARY KEY,
  name       text NOT NULL UNIQUE,
  store      jsonb NOT NULL,
  key_file   text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE backups (
  id                uuid PRIMARY KEY,
  project_id        text NOT NULL,
  user_id           text NOT NULL,
  -- no foreign keys: a backup outlives its volume and its snapshot
  volume_id         uuid NOT NULL,
  snapshot_id       uuid,
  parent_id         uuid REFERENCES backups,
  name              text,
  description       text,
  status            text NOT NULL,
  fail_reason       text,
  size_gib          integer NOT NULL,
  object_count      integer NOT NULL DEFAULT 0,
  container         text,
  availability_zone text,
  metadata          jsonb NOT NULL DEFAULT '{}',
  -- the volume as it was then (name, description, bootable, metadata, image_metadata): a restore brings it back
  volume_meta       jsonb NOT NULL DEFAULT '{}',
  restore_volume_id uuid,
  data_timestamp    timestamptz NOT NULL,
  repository_id     uuid REFERENCES repositories,
  -- the commit in the repository; null until it is there
  session           text,
  root              text,
  -- the hidden restore point that later incrementals start from
  point_id          uuid REFERENCES points,
  created_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
  updated_at        timestamptz
);
CREATE INDEX ON backups (project_id, created_at DESC, id DESC);
CREATE INDEX ON backups (volume_id);
CREATE INDEX ON backups (parent_id);
