"""The usual recipe: SET NX and the handler, in either order, then the ack. `set_nx.py before|after`"""

import sys
import time

import pika
import redis
from journal import QUEUE, SCHEMA, SOURCE, STORE, handle

DAY = 86_400
store = redis.Redis.from_url(STORE, socket_timeout=1, socket_connect_timeout=1)


def mark_before(key, run):
    if not store.set(key, 1, nx=True, ex=DAY):
        return  # a duplicate
    try:
        run()
    except Exception:
        store.delete(key)
        raise


def mark_after(key, run):
    if not store.exists(key):
        run()
        store.set(key, 1, ex=DAY)


def on_message(channel, method, properties, _body):
    process = {"before": mark_before, "after": mark_after}[sys.argv[1]]
    message = properties.message_id
    try:
        process(f"{SCHEMA}:{message}", lambda: handle(message, method.redelivered))
        channel.basic_ack(method.delivery_tag)
    except (redis.RedisError, RuntimeError) as error:
        print(error, flush=True)
        time.sleep(0.05)
        channel.basic_nack(method.delivery_tag, requeue=True)


while True:
    try:
        channel = pika.BlockingConnection(pika.URLParameters(SOURCE)).channel()
        channel.basic_qos(prefetch_count=10)
        channel.basic_consume(QUEUE, on_message)
        channel.start_consuming()
    except (pika.exceptions.AMQPError, OSError) as error:
        print(repr(error), flush=True)
        time.sleep(0.2)
