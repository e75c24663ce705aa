"""Warming: objects into the cache before anybody asks for them.

**List** names of objects, in one of many formats · **item** one of them · **filter** which items are taken · **part**
what is asked for of each: all of it, its head, its first and last bytes · **warmer** who has parts in a cache, from
inside or through a proxy · **job** one pass over a list within its limits · **journal** what of it is done · **order**
a job as a person asks for it · **report** what became of the items.
"""
