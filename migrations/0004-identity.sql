-- Identity made whole: groups, inherited grants, roles of domains, a catalog that operators add to, and stored secrets of users.

ALTER TABLE domains
  -- Neither changed nor deleted until the option is taken back.
  ADD immutable boolean NOT NULL DEFAULT false,
  -- What clients sent that the service keeps without knowing it.
  ADD extra jsonb NOT NULL DEFAULT '{}',
  -- Options of a domain's own identity driver, by group; null = it has none.
  ADD config jsonb;

ALTER TABLE projects ADD immutable boolean NOT NULL DEFAULT false;
CREATE INDEX ON projects (parent_id);

ALTER TABLE users
  ADD options jsonb NOT NULL DEFAULT '{}',
  -- Wrong passwords since the last right one.
  ADD failed_logins integer NOT NULL DEFAULT 0,
  ADD failed_login_at timestamptz;

-- A role of a domain counts for nothing by itself: it only stands for those that it implies.
ALTER TABLE roles
  ADD domain_id text REFERENCES domains ON DELETE CASCADE,
  ADD immutable boolean NOT NULL DEFAULT false,
  DROP CONSTRAINT roles_name_key,
  ADD UNIQUE NULLS NOT DISTINCT (name, domain_id);

CREATE TABLE groups (
  id          text PRIMARY KEY,
  domain_id   text NOT NULL REFERENCES domains ON DELETE CASCADE,
  name        text NOT NULL,
  description text NOT NULL DEFAULT '',
  extra       jsonb NOT NULL DEFAULT '{}',
  UNIQUE (domain_id, name)
);

CREATE TABLE group_members (
  user_id  text NOT NULL REFERENCES users ON DELETE CASCADE,
  group_id text NOT NULL REFERENCES groups ON DELETE CASCADE,
  PRIMARY KEY (user_id, group_id)
);
CREATE INDEX ON group_members (group_id);

-- Whoever has the role is a user or a group. An inherited one counts for the projects below its target, and not for the target.
ALTER TABLE role_assignments
  ALTER user_id DROP NOT NULL,
  ADD group_id text REFERENCES groups ON DELETE CASCADE,
  ADD inherited boolean NOT NULL DEFAULT false,
  ADD CHECK ((user_id IS NULL) <> (group_id IS NULL)),
  ADD CHECK (NOT inherited OR project_id IS NOT NULL OR domain_id IS NOT NULL),
  DROP CONSTRAINT role_assignments_user_id_role_id_project_id_domain_id_key,
  ADD CONSTRAINT role_assignments_once UNIQUE NULLS NOT DISTINCT (user_id, group_id, role_id, project_id, domain_id, inherited);
CREATE INDEX ON role_assignments (group_id);
CREATE INDEX ON role_assignments (domain_id);
CREATE INDEX ON role_assignments (role_id);

-- What an application credential may be used for. One without rules may be used for everything.
CREATE TABLE access_rules (
  id      text PRIMARY KEY,
  user_id text NOT NULL REFERENCES users ON DELETE CASCADE,
  service text NOT NULL,
  method  text NOT NULL,
  path    text NOT NULL,
  UNIQUE (user_id, service, method, path)
);
-- A rule stays while a credential has it.
CREATE TABLE application_credential_rules (
  credential_id text NOT NULL REFERENCES application_credentials ON DELETE CASCADE,
  rule_id       text NOT NULL REFERENCES access_rules,
  PRIMARY KEY (credential_id, rule_id)
);
CREATE INDEX ON application_credential_rules (rule_id);

-- the catalog ------------------------------------------------------------------------------------------------------

-- Rows that are built in follow from the program: they are put right at each start, and nobody else changes them.
CREATE TABLE regions (
  id               text PRIMARY KEY,
  description      text NOT NULL DEFAULT '',
  parent_region_id text REFERENCES regions,
  built_in         boolean NOT NULL DEFAULT false,
  extra            jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX ON regions (parent_region_id);

CREATE TABLE services (
  id          text PRIMARY KEY,
  type        text NOT NULL,
  name        text NOT NULL DEFAULT '',
  description text NOT NULL DEFAULT '',
  enabled     boolean NOT NULL DEFAULT true,
  built_in    boolean NOT NULL DEFAULT false,
  extra       jsonb NOT NULL DEFAULT '{}'
);

CREATE TABLE endpoints (
  id         text PRIMARY KEY,
  service_id text NOT NULL REFERENCES services ON DELETE CASCADE,
  interface  text NOT NULL,
  region_id  text REFERENCES regions,
  -- Of those built in: the path below the service's own address, which clients choose with each request.
  url        text NOT NULL,
  enabled    boolean NOT NULL DEFAULT true,
  built_in   boolean NOT NULL DEFAULT false,
  extra      jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX ON endpoints (service_id);
CREATE INDEX ON endpoints (region_id);

-- A project with any of the two below sees only those endpoints in its catalog.
CREATE TABLE project_endpoints (
  project_id  text NOT NULL REFERENCES projects ON DELETE CASCADE,
  endpoint_id text NOT NULL REFERENCES endpoints ON DELETE CASCADE,
  PRIMARY KEY (project_id, endpoint_id)
);
CREATE INDEX ON project_endpoints (endpoint_id);

CREATE TABLE endpoint_groups (
  id          text PRIMARY KEY,
  name        text NOT NULL,
  description text NOT NULL DEFAULT '',
  -- service_id, region_id and interface, each of them if wanted
  filters     jsonb NOT NULL
);

CREATE TABLE project_endpoint_groups (
  project_id        text NOT NULL REFERENCES projects ON DELETE CASCADE,
  endpoint_group_id text NOT NULL REFERENCES endpoint_groups ON DELETE CASCADE,
  PRIMARY KEY (project_id, endpoint_group_id)
);
CREATE INDEX ON project_endpoint_groups (endpoint_group_id);

-- stored for others ------------------------------------------------------------------------------------------------

CREATE TABLE credentials (
  id         text PRIMARY KEY,
  user_id    text NOT NULL REFERENCES users ON DELETE CASCADE,
  project_id text REFERENCES projects ON DELETE CASCADE,
  type       text NOT NULL,
  -- Sealed with the key of the service: users get it back.
  blob       bytea NOT NULL
);
CREATE INDEX ON credentials (user_id);
CREATE INDEX ON credentials (project_id);

CREATE TABLE policies (
  id   text PRIMARY KEY,
  type text NOT NULL,
  blob text NOT NULL
);

CREATE TABLE oauth_consumers (
  id          text PRIMARY KEY,
  description text,
  -- Sealed: it signs requests, so its plain text is needed.
  secret      bytea NOT NULL
);

-- What services let everybody have of a resource, and what single projects and domains. -1 = without end.
CREATE TABLE registered_limits (
  id            text PRIMARY KEY,
  service_id    text NOT NULL REFERENCES services ON DELETE CASCADE,
  region_id     text REFERENCES regions,
  resource_name text NOT NULL,
  default_limit integer NOT NULL,
  description   text,
  UNIQUE NULLS NOT DISTINCT (service_id, region_id, resource_name)
);
CREATE INDEX ON registered_limits (region_id);

CREATE TABLE limits (
  id             text PRIMARY KEY,
  project_id     text REFERENCES projects ON DELETE CASCADE,
  domain_id      text REFERENCES domains ON DELETE CASCADE,
  service_id     text NOT NULL REFERENCES services ON DELETE CASCADE,
  region_id      text REFERENCES regions,
  resource_name  text NOT NULL,
  resource_limit integer NOT NULL,
  description    text,
  CHECK (num_nonnulls(project_id, domain_id) = 1),
  UNIQUE NULLS NOT DISTINCT (project_id, domain_id, service_id, region_id, resource_name)
);
CREATE INDEX ON limits (service_id, resource_name);
CREATE INDEX ON limits (domain_id);
CREATE INDEX ON limits (region_id);
