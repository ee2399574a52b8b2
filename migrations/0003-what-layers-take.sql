-- What a layer takes on the disk; null = to be measured. Whoever lets its file be written to makes it null again.
ALTER TABLE layers ADD COLUMN allocated_bytes bigint;
CREATE INDEX ON layers (id) WHERE allocated_bytes IS NULL;
