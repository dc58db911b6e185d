// Requests signed by `@octokit/webhooks-methods`, each verified by it before it is written.

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { sign, verify } from "@octokit/webhooks-methods";

const root = process.argv[2];
const secret = "It's a Secret to Everybody";
const deliveries = readFileSync(join(root, "crates/ackonce-cli/data/github.jsonl"), "utf8").trim().split("\n");

const vectors = [];
for (const line of deliveries) {
  const { event, payload } = JSON.parse(line);
  const body = JSON.stringify(payload);
  if (body.length > 8000 || vectors.length === 10) continue;
  const signature = await sign(secret, body);
  if (!(await verify(secret, body, signature))) throw new Error(event);
  const n = String(vectors.length).padStart(12, "0");
  const id = `72d3162e-cc78-11e3-81ab-${n}`;
  vectors.push({
    secret,
    now: 1764000000,
    id,
    headers: {
      "x-github-event": event,
      "x-github-delivery": id,
      "x-github-hook-id": "292430182",
      "x-hub-signature-256": signature,
    },
    body,
  });
}
const text = vectors.map((vector) => JSON.stringify(vector) + "\n").join("");
writeFileSync(join(root, "crates/ackonce-webhook/tests/vectors/github.jsonl"), text);
