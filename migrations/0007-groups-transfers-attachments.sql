-- What Block Storage has beside volumes and snapshots for users: attachments with a life of their own, transfers, groups.

-- null = nobody has said yet: then it is not shown
ALTER TABLE volumes ALTER COLUMN readonly DROP NOT NULL, ALTER COLUMN readonly DROP DEFAULT;
UPDATE volumes SET readonly = NULL WHERE NOT readonly;

-- `reserved`: promised to an instance · `attaching`: its client was told how to connect · `attached`: the client said that it did.
ALTER TABLE volume_attachments
  ADD COLUMN status text NOT NULL DEFAULT 'attached' CHECK (status IN ('reserved', 'attaching', 'attached')),
  -- what the client was told; without a socket that is gone when the last attachment goes
  ADD COLUMN connection_info jsonb NOT NULL DEFAULT '{}',
  -- the volume's; one that is attached never changes hands
  ADD COLUMN project_id text,
  ADD COLUMN created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  ALTER COLUMN attached_at DROP NOT NULL;
UPDATE volume_attachments SET project_id = volumes.project_id FROM volumes WHERE volumes.id = volume_attachments.volume_id;
ALTER TABLE volume_attachments ALTER COLUMN project_id SET NOT NULL;
CREATE INDEX ON volume_attachments (project_id, created_at DESC, id DESC);

CREATE TABLE volume_transfers (
  id           uuid PRIMARY KEY,
  volume_id    uuid NOT NULL UNIQUE REFERENCES volumes ON DELETE CASCADE,
  -- who gives
  project_id   text NOT NULL,
  name         text,
  -- SHA-256 of the transfer's id and its key; the key itself is never stored
  key_hash     bytea NOT NULL,
  no_snapshots boolean NOT NULL DEFAULT false,
  created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
  updated_at   timestamptz
);
CREATE INDEX ON volume_transfers (project_id, created_at DESC, id DESC);

CREATE TABLE group_types (
  id          uuid PRIMARY KEY,
  name        text NOT NULL UNIQUE,
  description text,
  is_public   boolean NOT NULL DEFAULT true,
  group_specs jsonb NOT NULL DEFAULT '{}',
  created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
  updated_at  timestamptz
);

CREATE TABLE volume_groups (
  id                uuid PRIMARY KEY,
  project_id        text NOT NULL,
  user_id           text NOT NULL,
  name              text,
  description       text,
  status            text NOT NULL,
  availability_zone text NOT NULL,
  group_type_id     uuid NOT NULL REFERENCES group_types,
  -- no foreign keys: where a group came from may go
  group_snapshot_id uuid,
  source_group_id   uuid,
  created_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
  updated_at        timestamptz
);
CREATE INDEX ON volume_groups (project_id, created_at DESC, id DESC);
CREATE INDEX ON volume_groups (group_type_id);

-- Of which types a group takes volumes.
CREATE TABLE volume_group_types (
  group_id       uuid NOT NULL REFERENCES volume_groups ON DELETE CASCADE,
  volume_type_id uuid NOT NULL REFERENCES volume_types ON DELETE CASCADE,
  PRIMARY KEY (group_id, volume_type_id)
);

CREATE TABLE group_snapshots (
  id            uuid PRIMARY KEY,
  project_id    text NOT NULL,
  user_id       text NOT NULL,
  group_id      uuid NOT NULL REFERENCES volume_groups,
  group_type_id uuid NOT NULL REFERENCES group_types,
  name          text,
  description   text,
  status        text NOT NULL,
  created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
  updated_at    timestamptz
);
CREATE INDEX ON group_snapshots (project_id, created_at DESC, id DESC);
CREATE INDEX ON group_snapshots (group_id);

ALTER TABLE volumes ADD COLUMN group_id uuid REFERENCES volume_groups;
CREATE INDEX ON volumes (group_id) WHERE group_id IS NOT NULL;
ALTER TABLE snapshots ADD COLUMN group_snapshot_id uuid REFERENCES group_snapshots;
CREATE INDEX ON snapshots (group_snapshot_id) WHERE group_snapshot_id IS NOT NULL;

ALTER TABLE backups
  -- the dedupe domain that the commit is in; null = the owner's. Another one when the record of a backup was imported by another project.
  ADD COLUMN domain text,
  -- the volumes that the backup is being restored to just now
  ADD COLUMN restore_volume_ids uuid[] NOT NULL DEFAULT '{}';
UPDATE backups SET restore_volume_ids = ARRAY[restore_volume_id] WHERE status = 'restoring' AND restore_volume_id IS NOT NULL;
CREATE INDEX ON backups (session) WHERE session IS NOT NULL;

-- what volumes made from the snapshot are, whatever becomes of its volume
ALTER TABLE snapshots ADD COLUMN bootable boolean NOT NULL DEFAULT false, ADD COLUMN image_metadata jsonb NOT NULL DEFAULT '{}';
UPDATE snapshots SET bootable = volumes.bootable, image_metadata = volumes.image_metadata FROM volumes WHERE volumes.id = volume_id;
