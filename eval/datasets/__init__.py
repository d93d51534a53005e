"""Labelled folders as other tools write them: found by looking, read as COCO's three lists."""
