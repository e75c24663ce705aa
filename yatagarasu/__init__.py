"""Yatagarasu: a read-only S3 caching proxy and toolkit on trio.

Start with `proxy/pipeline.py`, the life of one request. Glossary: the *origin* is the S3 side, the
*client* the other; an *object key* is S3's name, a *cache key* ours; an *entry* is a stored response
(head, times, body); a *body* the bytes of one generation, possibly with holes; *extents* which ranges
of a body are present; a *generation* one version of an object, named by strong ETag and size; a
*flight* an origin fetch in progress; a *reader* a response being written out of a body; a *verdict*
how a flight ended; a *tier* one level of the cache.
"""

__version__ = "0.1.0"
