-- Sharing, staging and importing of images; the catalogue of metadata definitions.

-- With whom a shared image is shared.
CREATE TABLE image_members (
  image_id   uuid NOT NULL REFERENCES images ON DELETE CASCADE,
  -- a project; no foreign key: an image may be shared with a project before it exists here, and outlive it
  member_id  text NOT NULL,
  status     text NOT NULL CHECK (status IN ('pending', 'accepted', 'rejected')),
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (image_id, member_id)
);
CREATE INDEX ON image_members (member_id, image_id);

-- What was staged: {uploadId, sizeBytes, md5, sha512}. Only while the image is uploading, and only once its bytes are durable.
ALTER TABLE images ADD COLUMN staged jsonb;
CREATE INDEX ON images (created_at DESC, id DESC);

-- What imports were asked for. Told of for a while after their end, whatever became of the image.
CREATE TABLE image_tasks (
  -- of the saga too
  id         uuid PRIMARY KEY,
  image_id   uuid NOT NULL,
  owner      text NOT NULL,
  user_id    text NOT NULL,
  request_id text NOT NULL,
  input      jsonb NOT NULL,
  status     text NOT NULL CHECK (status IN ('pending', 'processing', 'success', 'failure')),
  message    text NOT NULL DEFAULT '',
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  -- null until it has ended
  expires_at timestamptz
);
CREATE INDEX ON image_tasks (image_id);
CREATE INDEX ON image_tasks (created_at DESC, id DESC);
CREATE INDEX ON image_tasks (expires_at);

CREATE TABLE metadef_namespaces (
  id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  namespace    text NOT NULL UNIQUE,
  display_name text,
  description  text,
  visibility   text NOT NULL CHECK (visibility IN ('public', 'private')),
  protected    boolean NOT NULL,
  owner        text NOT NULL,
  created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
  updated_at   timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Objects, properties and tags: what is in a namespace under a name.
CREATE TABLE metadef_items (
  namespace_id bigint NOT NULL REFERENCES metadef_namespaces ON DELETE CASCADE,
  kind         text NOT NULL CHECK (kind IN ('object', 'property', 'tag')),
  name         text NOT NULL,
  -- everything but the name, as it came
  definition   jsonb NOT NULL,
  created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
  updated_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (namespace_id, kind, name)
);

CREATE TABLE metadef_resource_types (
  name       text PRIMARY KEY,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
INSERT INTO metadef_resource_types (name) VALUES
  ('OS::Cinder::Volume'), ('OS::Glance::Image'), ('OS::Nova::Aggregate'), ('OS::Nova::Flavor'), ('OS::Nova::Server'), ('OS::Trove::Instance');

CREATE TABLE metadef_associations (
  namespace_id      bigint NOT NULL REFERENCES metadef_namespaces ON DELETE CASCADE,
  resource_type     text NOT NULL REFERENCES metadef_resource_types,
  properties_target text,
  prefix            text,
  created_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
  updated_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (namespace_id, resource_type)
);
CREATE INDEX ON metadef_associations (resource_type);
