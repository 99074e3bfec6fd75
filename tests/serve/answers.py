"""What the tests of the server read in its answers."""

import json


def problem(answer, status, told):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    values = answer.json()
    assert values["status"] == status
    assert told in values["detail"]
    assert values["next"]
    return values


def events_of(answer):
    """(name, data) of each server-sent event."""
    name = ""
    for line in answer.iter_lines():
        if line.startswith("event: "):
            name = line[7:]
        if line.startswith("data: "):
            yield name, json.loads(line[6:])
