-- Administrators list over all projects, newest first, page by page.
CREATE INDEX ON volumes (created_at DESC, id DESC);
CREATE INDEX ON snapshots (created_at DESC, id DESC);
CREATE INDEX ON backups (created_at DESC, id DESC);
CREATE INDEX ON volume_attachments (created_at DESC, id DESC);
CREATE INDEX ON volume_transfers (created_at DESC, id DESC);
CREATE INDEX ON volume_groups (created_at DESC, id DESC);
CREATE INDEX ON group_snapshots (created_at DESC, id DESC);
CREATE INDEX ON messages (created_at DESC, id DESC);
