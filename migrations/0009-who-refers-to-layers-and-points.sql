-- PostgreSQL looks for references before a layer or a point is deleted, and housekeeping does for each of them.
CREATE INDEX ON volumes (top_layer_id);
CREATE INDEX ON volumes (head_point_id);
CREATE INDEX ON snapshots (point_id);
CREATE INDEX ON images (point_id);
CREATE INDEX ON backups (point_id);
