"""A fence: what runs on several machines share through a bucket or a folder, without a server."""
