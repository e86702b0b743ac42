from tests.files.publishing.conftest import bucket, s3_server  # noqa: F401 - fixtures
