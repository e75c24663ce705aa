"""Sans-IO S3: what S3 says about addresses, keys, signatures, queries, errors and listings."""
