-- What operators set: volume types with access, encryption and QoS specs; the state of the services; and the messages that users read.

CREATE TABLE qos_specs (
  id         uuid PRIMARY KEY,
  name       text NOT NULL UNIQUE,
  consumer   text NOT NULL CHECK (consumer IN ('back-end', 'front-end', 'both')),
  specs      jsonb NOT NULL DEFAULT '{}',
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  updated_at timestamptz
);

ALTER TABLE volume_types ADD COLUMN qos_specs_id uuid REFERENCES qos_specs;
ALTER TABLE volume_types ALTER COLUMN created_at SET DEFAULT clock_timestamp();
CREATE INDEX ON volume_types (qos_specs_id);
-- Whether any volume is of a type is asked before the type is changed.
CREATE INDEX ON volumes (volume_type_id);

-- Which projects may use a type that is not public.
CREATE TABLE volume_type_access (
  volume_type_id uuid NOT NULL REFERENCES volume_types ON DELETE CASCADE,
  project_id     text NOT NULL,
  PRIMARY KEY (volume_type_id, project_id)
);
CREATE INDEX ON volume_type_access (project_id);

CREATE TABLE volume_type_encryption (
  volume_type_id   uuid PRIMARY KEY REFERENCES volume_types ON DELETE CASCADE,
  encryption_id    uuid NOT NULL UNIQUE,
  provider         text NOT NULL,
  control_location text NOT NULL CHECK (control_location IN ('front-end', 'back-end')),
  cipher           text,
  key_size         integer,
  created_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
  updated_at       timestamptz
);

-- The type of a project's volumes when a request names none.
CREATE TABLE default_volume_types (
  project_id     text PRIMARY KEY,
  volume_type_id uuid NOT NULL REFERENCES volume_types
);
CREATE INDEX ON default_volume_types (volume_type_id);

-- What an operator said of a service, in the words of Block Storage. A service without a row is enabled.
CREATE TABLE service_states (
  host            text NOT NULL,
  binary_name     text NOT NULL,
  disabled        boolean NOT NULL DEFAULT false,
  disabled_reason text,
  frozen          boolean NOT NULL DEFAULT false,
  PRIMARY KEY (host, binary_name)
);

-- Which request began it: messages name it.
ALTER TABLE sagas ADD COLUMN request_id text;

-- Why work failed that went on after its request was answered, in words for the user whose request it was.
CREATE TABLE messages (
  id            uuid PRIMARY KEY,
  project_id    text NOT NULL,
  request_id    text,
  resource_type text NOT NULL CHECK (resource_type IN ('VOLUME', 'VOLUME_SNAPSHOT', 'VOLUME_BACKUP')),
  resource_uuid uuid NOT NULL,
  -- three digits each: what was done, and what went wrong
  action_id     text NOT NULL,
  detail_id     text NOT NULL,
  message_level text NOT NULL DEFAULT 'ERROR',
  created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
  expires_at    timestamptz NOT NULL
);
CREATE INDEX ON messages (project_id, created_at DESC, id DESC);
CREATE INDEX ON messages (expires_at);
