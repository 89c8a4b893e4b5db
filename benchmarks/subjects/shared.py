"""Registries on stores that they share: what runs is set up by the question that measures them."""

from dataclasses import dataclass

__all__ = ["DISTRIBUTION_S3", "PROXIED", "REPLICA", "REPLICAS", "SHARED", "Shared"]


@dataclass(frozen=True, slots=True)
class Shared:
    """A name for one of them."""

    name: str
    title: str


REPLICA = Shared("replica", "ours, PostgreSQL and S3, one replica with one worker")
PROXIED = Shared("replica, nginx", "the same behind nginx")
REPLICAS = Shared("replicas x3", "ours, PostgreSQL and S3, three replicas behind nginx")
DISTRIBUTION_S3 = Shared("distribution S3", "distribution 3 on the same S3 server")

SHARED = (REPLICA, PROXIED, REPLICAS, DISTRIBUTION_S3)
