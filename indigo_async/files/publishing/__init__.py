"""Publishers put local files at URLs that the server can fetch."""
