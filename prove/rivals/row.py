"""The line of a run in the table of docs/PROOF.md, and the moments at which messages were lost or doubled.

    python3 row.py NAME FOLDER <VERDICT.json
"""

import collections
import json
import pathlib
import sys


def lines(path):
    if not path.exists():
        return
    for line in path.read_text(errors="replace").splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            continue  # torn by a kill


def trouble(message):
    number = int(message[1:])
    return "refused" if number % 401 == 11 else "failed" if number % 211 == 7 or number % 97 == 5 else None


def main():
    name, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    verdict = json.load(sys.stdin)["verdict"]
    events = json.loads((folder / "history.json").read_text())["events"]
    died = {e["pid"]: e["to"] for e in events if e["kind"] == "Killed" or "Crashed" in e["kind"]}
    paused = {e["pid"] for e in events if "Paused" in e["kind"]}
    starts, effects = collections.defaultdict(list), collections.defaultdict(list)
    for entry in lines(folder / "starts.jsonl"):
        starts[entry["id"]].append(entry)
    for entry in lines(folder / "effects.jsonl"):
        effects[entry["id"]].append(entry)
    published = {entry["id"] for entry in lines(folder / "published.jsonl")}

    def lost(message):
        if not starts[message]:
            return "before its handler began"
        if trouble(message) == "failed" and len(starts[message]) == 1:
            return "after its handler had failed"
        return "its process was killed in the handler" if starts[message][-1]["pid"] in died else "else"

    def doubled(before, again):
        if before["pid"] in died and before["at"] <= died[before["pid"]] <= again["at"]:
            return "its process was killed after the effect"
        if before["pid"] in paused:
            return "its process was stopped"
        return "in the same process" if before["pid"] == again["pid"] else "in another process, without a kill between"

    moments = collections.Counter()
    for message in published:
        if not effects[message] and trouble(message) != "refused":
            moments["lost " + lost(message)] += 1
        for before, again in zip(effects[message], effects[message][1:]):
            moments["doubled " + doubled(before, again)] += 1
    faults = sum(verdict["faults"].values())
    figures = [verdict["deliveries"], verdict["kills"] + verdict["crashes"], verdict["pauses"], faults]
    figures += [verdict["lost"], f"{verdict['doubled']}, {verdict['doubled_explained']}", verdict["stuck"]]
    print(f"| {name} | {' | '.join(map(str, figures))} |")
    for moment, count in moments.most_common():
        print(f"    {count}: {moment}")


if __name__ == "__main__":
    main()
