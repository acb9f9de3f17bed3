#!/bin/sh
# An agent in the shell, with curl, through the HTTP interface of a node:
#
#   effect-dht node              # in another terminal; its data is in ./data
#   sh agent.sh translate Ann    # announces an offer, shows all offers, and withdraws it again
#
# URL and DATA select another node.
set -eu

topic=$1
name=$2
url=${URL:-http://127.0.0.1:2634}
data=${DATA:-./data}

# The header with the token comes from a file, so that the token is on no command line.
header=$(mktemp)
trap 'rm -f "$header"' EXIT
printf 'Authorization: Bearer %s\n' "$(cat "$data/http-token")" > "$header"

# --fail-with-body prints the problem document of an error, and fails.
node() { curl --silent --show-error --fail-with-body --header "@$header" --header "Content-Type: application/json" "$@"; }

# Kept by the node, also over restarts, until it is deleted. A topic with other characters needs percent-encoding.
node --request PUT --data "{\"name\": \"$name\"}" "$url/v1/announcements/topics/$topic?replicas=1&within=10s"
echo

node "$url/v1/topics/$topic"
echo

node --request DELETE "$url/v1/announcements/topics/$topic"
