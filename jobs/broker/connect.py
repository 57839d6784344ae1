"""From settings to a broker, for programs: the one place that decides which implementation serves."""

from jobs.broker.base import Broker
from jobs.broker.redis import RedisBroker
from jobs.settings import BrokerSettings


def open_broker(settings: BrokerSettings) -> Broker:
    """A broker on the Redis that the settings name. It connects when first used: an absent Redis is noticed then.

    Raises ValueError when `redis_url` is missing or is no address of a Redis.
    """
    if settings.redis_url is None:
        raise ValueError(
            "REDIS_URL (or NUWA_REDIS_URL) is not set: it names the Redis to use, such as redis://localhost"
        )
    return RedisBroker(settings.redis_url.get_secret_value(), settings.limits)
