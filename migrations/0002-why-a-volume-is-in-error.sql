-- Why a volume is in status error, in words; null = nobody said. Written when a layer of its disk is missing or damaged, cleared with the status.
ALTER TABLE volumes ADD COLUMN status_reason text;
