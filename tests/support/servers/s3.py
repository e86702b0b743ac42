"""A server that speaks S3, on loopback, and its buckets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from obstore.store import S3Store

KEY_ID, SECRET_KEY, REGION = "AKIACANARY", "canary-secret-key", "us-east-1"


@attrs.frozen
class S3Server:
    """A server that speaks S3, on loopback."""

    endpoint: str

    def _client(self):
        import boto3  # noqa: PLC0415 - slow to import

        keys = {"aws_access_key_id": KEY_ID, "aws_secret_access_key": SECRET_KEY}
        return boto3.client("s3", endpoint_url=self.endpoint, region_name=REGION, **keys)

    def create_bucket(self, bucket: str) -> Bucket:
        self._client().create_bucket(Bucket=bucket)
        return Bucket(self, bucket)

    def objects(self, bucket: str) -> dict[str, bytes]:
        """What is in a bucket, by name."""
        client = self._client()
        listed = client.list_objects_v2(Bucket=bucket).get("Contents", [])
        return {item["Key"]: client.get_object(Bucket=bucket, Key=item["Key"])["Body"].read() for item in listed}

    def unfinished_uploads(self, bucket: str) -> list[str]:
        """The names of uploads in parts that were neither finished nor given up."""
        return [item["Key"] for item in self._client().list_multipart_uploads(Bucket=bucket).get("Uploads", [])]


@attrs.frozen
class Bucket:
    server: S3Server
    name: str

    def make_store(self, prefix: str | None = None, **changed: str) -> S3Store:
        from obstore.store import S3Store  # noqa: PLC0415 - as above

        keys = {"access_key_id": KEY_ID, "secret_access_key": SECRET_KEY, "region": REGION}
        settings = keys | {"endpoint": self.server.endpoint} | changed
        return S3Store(self.name, prefix=prefix, config=settings, client_options={"allow_http": True})

    @property
    def objects(self) -> dict[str, bytes]:
        return self.server.objects(self.name)

    @property
    def unfinished_uploads(self) -> list[str]:
        return self.server.unfinished_uploads(self.name)
