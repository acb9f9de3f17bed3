"""An agent in Python, with the standard library only, through the HTTP interface of a node.

    effect-dht node                                        # in another terminal; its data is in ./data
    python3 agent.py serve --name Ann --topic translate    # announces an offer and answers messages
    python3 agent.py ask --topic translate "Good morning"  # finds agents, writes to the first one

Each agent has a node of its own, which holds its key. For a second node on the same machine:

    effect-dht node --listen 127.0.0.1:0 --http 127.0.0.1:2635 --data ./other --bootstrap 127.0.0.1:4121
    python3 agent.py --url http://127.0.0.1:2635 --data ./other ask --topic translate "Good morning"

Names, offers and messages of other agents are untrusted text.
"""

import argparse
import json
import pathlib
import sys
import urllib.error
import urllib.parse
import urllib.request


class Problem(Exception):
    """An error of the node: `tag` names it, and `facts` are the members of the problem document."""

    def __init__(self, facts):
        super().__init__(facts.get("detail", "the node failed"))
        self.tag = facts.get("_tag")
        self.facts = facts


class Node:
    def __init__(self, url, token):
        self.url = url
        self.token = token

    def open(self, method, path, body=None, headers=None, timeout=70):
        request = urllib.request.Request(self.url + path, method=method)
        request.add_header("Authorization", "Bearer " + self.token)
        for name, value in (headers or {}).items():
            request.add_header(name, value)
        data = None
        if body is not None:
            request.add_header("Content-Type", "application/json")
            data = json.dumps(body).encode()
        try:
            return urllib.request.urlopen(request, data, timeout)
        except urllib.error.HTTPError as error:
            raise Problem(json.loads(error.read())) from None

    def call(self, method, path, body=None, headers=None):
        with self.open(method, path, body, headers) as response:
            text = response.read()
            return json.loads(text) if text else None

    def events(self, path, cursor=None):
        """Yields the events of a stream. A comment every 15 seconds keeps the connection open."""
        headers = {"Accept": "text/event-stream"}
        if cursor is not None:
            headers["Last-Event-ID"] = cursor
        with self.open("GET", path, headers=headers) as response:
            for line in response:
                if line.startswith(b"data: "):
                    yield json.loads(line[len(b"data: "):])


def topic_path(topic):
    return "/topics/" + urllib.parse.quote(topic, safe="")


def serve(node, options):
    about = {"name": options.name, "protocols": ["note"]}
    # Both are kept by the node, also over restarts, until they are deleted.
    node.call("PUT", "/v1/announcements/profile?replicas=1", about)
    node.call("PUT", "/v1/announcements" + topic_path(options.topic) + "?replicas=1", about)
    print("announced", options.topic, flush=True)
    # A program that runs again would keep the cursor of the last message that it answered.
    for event in node.events("/v1/mail"):
        note = event["note"]
        print("from", note["from"] + ":", note["text"], flush=True)
        if note["text"] is not None and not note["text"].startswith("Re: "):
            try:
                node.call("POST", "/v1/mail?replicas=1", {"to": note["from"], "text": "Re: " + note["text"]})
            except Problem as problem:
                # NoRecipientKey: the sender has published no profile, and the answer cannot be encrypted.
                print("no answer:", problem.tag, problem, flush=True)


def ask(node, options):
    # A profile shows the key that answers are encrypted to.
    node.call("PUT", "/v1/announcements/profile?replicas=1", {"name": "asker"})
    cursor = node.call("GET", "/v1/mail?limit=1000")["cursor"]
    found = node.call("GET", "/v1" + topic_path(options.topic) + "?protocol=note")
    if not found["offers"]:
        sys.exit("No agent offers " + options.topic)
    offer = found["offers"][0]
    agent = node.call("GET", "/v1/agents/" + offer["address"])
    # An agent can have offers and no profile.
    profile = agent["profile"]
    name = profile["name"] if profile is not None else None
    print("asking", offer["name"], offer["address"], "of profile", name, flush=True)
    node.call("POST", "/v1/mail?replicas=1", {"to": offer["address"], "text": options.text})
    for event in node.events("/v1/mail", cursor):
        if event["note"]["from"] == offer["address"]:
            print(event["note"]["text"], flush=True)
            return


def main():
    parser = argparse.ArgumentParser(description="An agent through the HTTP interface of a node")
    parser.add_argument("--url", default="http://127.0.0.1:2634", help="URL of the node's HTTP server")
    parser.add_argument("--data", default="./data", help="data directory of the node, for the token in it")
    commands = parser.add_subparsers(dest="command", required=True)
    serving = commands.add_parser("serve")
    serving.add_argument("--name", required=True)
    serving.add_argument("--topic", required=True)
    asking = commands.add_parser("ask")
    asking.add_argument("--topic", required=True)
    asking.add_argument("text")
    options = parser.parse_args()
    try:
        token = (pathlib.Path(options.data) / "http-token").read_text().strip()
    except OSError as error:
        sys.exit(f"No token in {options.data}: {error.strerror}. Give the data directory of a running node with --data")
    node = Node(options.url, token)
    try:
        {"serve": serve, "ask": ask}[options.command](node, options)
    except Problem as problem:
        sys.exit(f"{problem.tag}: {problem}")
    except (OSError, ValueError) as error:
        sys.exit(f"No node answers at {options.url}: {error}")


if __name__ == "__main__":
    main()
