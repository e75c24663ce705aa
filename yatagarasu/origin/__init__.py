"""How bytes get here: connections, pool, transport, the S3 client, retries, credentials, local folders."""
