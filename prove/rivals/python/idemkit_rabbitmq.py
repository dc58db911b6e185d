"""idemkit as its RabbitMQ recipe says. `idemkit_rabbitmq.py redis|postgres`"""

import asyncio
import sys
import time

import asyncpg
import pika
from idemkit import PostgresBackend, QueueConfig, RedisBackend
from idemkit.backends.postgres import init_pg
from idemkit.contrib.rabbitmq import rabbitmq_consumer, run_forever
from journal import LEASE, QUEUE, SCHEMA, SOURCE, STORE, handle


def backend():
    if sys.argv[1] == "redis":
        timeouts = {"socket_timeout": 2, "socket_connect_timeout": 1, "health_check_interval": 1}
        return RedisBackend.from_url(STORE, namespace=SCHEMA, **timeouts)
    while True:
        try:
            asyncio.run(init_pg(STORE, table=SCHEMA))
            return PostgresBackend.from_url(STORE, table=SCHEMA, min_size=1, command_timeout=2)
        except (asyncpg.PostgresError, OSError, asyncio.TimeoutError) as error:
            print(repr(error), flush=True)
            time.sleep(0.2)


# Its lease is half of this. Nothing is given up: a message that is dropped after so many attempts would count as lost.
consumer = rabbitmq_consumer(backend=backend(), lease_seconds=LEASE * 2, config=QueueConfig(max_attempts=1_000_000))


@consumer.handle
def process(message):
    handle(message.message_id, message.redelivered)


while True:
    try:
        channel = pika.BlockingConnection(pika.URLParameters(SOURCE)).channel()
        run_forever(consumer, channel=channel, queue=QUEUE, lease_seconds=LEASE * 2)
    except (pika.exceptions.AMQPError, OSError) as error:
        print(repr(error), flush=True)
        time.sleep(0.2)
