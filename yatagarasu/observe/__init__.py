"""What can be seen: metrics, the access log, the error log. The hot calls are a look-up and an addition."""
