-- Servers, and the disks that are attached to them. A server's own disks are rows of `volumes` that belong to no project.
CREATE TABLE servers (
  id                uuid PRIMARY KEY,
  project_id        text NOT NULL,
  user_id           text NOT NULL,
  name              text NOT NULL,
  description       text,
  hostname          text NOT NULL,
  -- As its owner says them.
  access_ip_v4      text NOT NULL DEFAULT '',
  access_ip_v6      text NOT NULL DEFAULT '',
  -- What it is when nothing is being done to it, and what is being done to it.
  vm_state          text NOT NULL,
  task_state        text,
  -- Nova's numbers: 0 nothing, 1 running, 3 paused, 4 shut down, 6 crashed, 7 suspended
  power_state       integer NOT NULL DEFAULT 0,
  lock_reason       text,
  is_locked         boolean NOT NULL DEFAULT false,
  -- A copy: flavors come and go.
  flavor            jsonb NOT NULL,
  image_id          uuid,
  -- What its image said of itself, for images made of it, and for the agent.
  image_properties  jsonb NOT NULL DEFAULT '{}',
  key_name          text,
  public_key        text,
  user_data         text,
  has_config_drive  boolean NOT NULL DEFAULT false,
  metadata          jsonb NOT NULL DEFAULT '{}',
  tags              text[] NOT NULL DEFAULT '{}',
  disk_config       text NOT NULL DEFAULT 'MANUAL',
  availability_zone text NOT NULL,
  reservation_id    text NOT NULL,
  launch_index      integer NOT NULL DEFAULT 0,
  fault_code        integer,
  fault_message     text,
  fault_at          timestamptz,
  -- The process that runs it; a row is written before one is started.
  machine_id        uuid,
  process_id        integer,
  -- Set before its guest is asked to freeze, and cleared when it has thawed.
  frozen_at         timestamptz,
  launched_at       timestamptz,
  created_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
  updated_at        timestamptz
);
CREATE INDEX ON servers (project_id, created_at DESC, id DESC);
CREATE INDEX ON servers (created_at DESC, id DESC);
CREATE INDEX ON servers (id) WHERE machine_id IS NOT NULL;

CREATE TABLE server_disks (
  server_id             uuid NOT NULL REFERENCES servers ON DELETE CASCADE,
  volume_id             uuid NOT NULL REFERENCES volumes ON DELETE CASCADE,
  -- `vda` to `vdz`
  device                text NOT NULL,
  -- Of `volume_attachments`.
  attachment_id         uuid NOT NULL,
  boot_index            integer,
  is_local              boolean NOT NULL,
  delete_on_termination boolean NOT NULL,
  tag                   text,
  -- It is being unplugged.
  is_leaving            boolean NOT NULL DEFAULT false,
  created_at            timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (server_id, volume_id),
  UNIQUE (server_id, device)
);
CREATE INDEX ON server_disks (volume_id);

-- How the guest stood when the moment came; null: nobody had the disk open, or it is not known.
ALTER TABLE points
  ADD COLUMN consistency text,
  -- For how long the guest may have waited.
  ADD COLUMN freeze_ms   real;

-- What was asked of a server, by whom, and how it went.
CREATE TABLE server_actions (
  request_id  text NOT NULL,
  server_id   uuid NOT NULL,
  action      text NOT NULL,
  user_id     text NOT NULL,
  project_id  text NOT NULL,
  message     text,
  started_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
  finished_at timestamptz,
  PRIMARY KEY (server_id, request_id)
);
