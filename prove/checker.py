#!/usr/bin/env python3
"""A second audit of a run of `prove`, from its logs alone. It shares no code with the first one.

    python3 prove/checker.py DIR [--compare]

Prints its figures as JSON. With --compare it reads the first audit's verdict (the output of `prove audit DIR`) from standard
input, and exit code 1 says that the two disagree.
"""

import collections
import json
import pathlib
import sys

KEYS = 60


def records(path):
    """The lines of a file that are whole; a kill may have torn some."""
    if not path.exists():
        return
    for line in path.read_bytes().split(b"\n"):
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict):
            yield found


def refused(message):
    return int(message[1:]) % 401 == 11


def out_of_order(effects):
    done, highest, wrong = set(), collections.defaultdict(lambda: -1), 0
    for effect in effects:
        number = int(effect["id"][1:])
        if number in done:
            continue
        done.add(number)
        wrong += number < highest[number % KEYS]
        highest[number % KEYS] = max(highest[number % KEYS], number)
    return wrong


def standing(commits):
    """Without those of a topic that is gone, by the topic that the last commit of their partition names."""
    last = {commit["partition"]: commit.get("topic") for commit in commits}
    return [commit for commit in commits if commit.get("topic") == last[commit["partition"]]]


def past_a_hole(published, effects, commits):
    """Replays effects and commits in the order of time, and asks at each commit whether all before it is done."""
    first = {}
    for effect in effects:
        first.setdefault(effect["id"], effect["at"])
    partitions = collections.defaultdict(list)
    for delivery in published:
        if "at" in delivery:
            partition, offset = delivery["at"]
            partitions[partition].append((offset, delivery["id"]))
    wrong = 0
    for commit in commits:
        before = (m for offset, m in partitions[commit["partition"]] if offset < commit["offset"])
        wrong += any(not refused(m) and first.get(m, float("inf")) > commit["at"] for m in before)
    return wrong


def audit(folder):
    run = json.loads((folder / "run.json").read_text())
    published = list(records(folder / "published.jsonl"))
    effects = list(records(folder / "effects.jsonl"))
    commits = list(records(folder / "commits.jsonl"))
    if "recreate" in run["faults"]:
        commits = standing(commits)
    asked = {delivery["id"] for delivery in published}
    wanted = {message for message in asked if not refused(message)}
    times, keys, owners = collections.Counter(), collections.defaultdict(set), collections.defaultdict(set)
    for effect in effects:
        times[effect["id"]] += 1
        keys[effect["id"]].add(effect["key"])
        owners[effect["key"]].add(effect["id"])
    ordered = run["broker"] == "kafka" and run["mode"] != "at-most-once"
    return {
        "deliveries": len(published),
        "messages": len(asked),
        "effects": len(effects),
        "lost": len(wanted - set(times)),
        "doubled": sum(count > 1 for count in times.values()),
        "doubled_by_key": sum(len(found) > 1 for found in keys.values())
        + sum(len(found) > 1 for found in owners.values()),
        "unasked": len(set(times) - wanted),
        "out_of_order": out_of_order(effects) if ordered else 0,
        "past_a_hole": past_a_hole(published, effects, commits) if ordered else 0,
        "stuck": run["left"] + run["records"][0] + run["records"][1],
    }


def main():
    folder = pathlib.Path(sys.argv[1])
    found = audit(folder)
    print(json.dumps(found))
    if "--compare" in sys.argv[2:]:
        first = json.load(sys.stdin)["verdict"]
        differs = {name: (first[name], value) for name, value in found.items() if first[name] != value}
        if differs:
            sys.exit(f"the audits disagree: {differs}")


if __name__ == "__main__":
    main()
