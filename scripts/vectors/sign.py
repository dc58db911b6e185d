"""Requests signed by the libraries `stripe` and `standardwebhooks`, each verified by its library before it is written."""

import json
import sys
from datetime import datetime, timezone
from pathlib import Path

import stripe
from standardwebhooks.webhooks import Webhook

ROOT = Path(sys.argv[1])
DATA = ROOT / "crates/ackonce-cli/data"
VECTORS = ROOT / "crates/ackonce-webhook/tests/vectors"
# The moment that all of them are signed at.
NOW = 1764000000


def write(name, vectors):
    with open(VECTORS / name, "w", encoding="utf-8") as file:
        for vector in vectors:
            file.write(json.dumps(vector, ensure_ascii=False, separators=(",", ":")) + "\n")


def lines(name):
    return (DATA / name).read_text(encoding="utf-8").splitlines()


def stripe_vectors():
    secret = "whsec_ackonce_vectors"
    bodies = lines("stripe.jsonl")
    thin = {
        "id": "evt_test_65R9Ijk8dKEYZcXeRWn16R9A7j1FSQ3w3TGDPLLGSM4CW0",
        "object": "v2.core.event",
        "type": "v1.billing.meter.error_report_triggered",
        "created": "2025-11-24T16:00:00.000Z",
        "livemode": False,
        "context": "acct_1Nv0FGQ9RKHgCVdK",
        "related_object": {"id": "mtr_test_1", "type": "billing.meter", "url": "/v1/billing/meters/mtr_test_1"},
    }
    connect = json.loads(bodies[0]) | {"account": "acct_1Nv0FGQ9RKHgCVdK"}
    odd = json.loads(bodies[1]) | {"note": "héllo, 🦀 \"world\"\n"}
    bodies += [json.dumps(thin), json.dumps(connect, indent=2), json.dumps(odd, ensure_ascii=False)]
    for body in bodies:
        header = stripe.WebhookSignature.generate_signature_header(body, secret, NOW)
        stripe.WebhookSignature.verify_header(body, header, secret)
        yield {
            "secret": secret,
            "now": NOW,
            "id": json.loads(body)["id"],
            "headers": {"stripe-signature": header},
            "body": body,
        }


def standard_vectors():
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    bodies = ["{}", '{"test": 2432232314}', "héllo, 🦀 world!", "", '{"a":1,"a":2}'] + lines("stripe.jsonl")[:5]
    for n, body in enumerate(bodies):
        message = f"msg_{n:024d}"
        webhook = Webhook(secret)
        signature = webhook.sign(message, datetime.fromtimestamp(NOW, tz=timezone.utc), body)
        yield {
            "secret": secret,
            "now": NOW,
            "id": message,
            "headers": {
                "webhook-id": message,
                "webhook-timestamp": str(NOW),
                "webhook-signature": signature,
            },
            "body": body,
        }


if __name__ == "__main__":
    VECTORS.mkdir(parents=True, exist_ok=True)
    write("stripe.jsonl", stripe_vectors())
    write("standard-webhooks.jsonl", standard_vectors())
