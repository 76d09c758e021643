#!/usr/bin/env bash
# One whole turn of the ratchet on the embedded base: grid, verdict, promotion, rating, DPO round, verdict.
# `make demo` runs it. Every line below is a command you can run by hand. Running it again does only what is missing.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH" HF_HUB_OFFLINE=1
lab="${RATCHET_LAB:-lab}"
export RATCHET_LAB="$lab"
started=$SECONDS

step() { printf '\n\033[1m== %s\033[0m\n' "$1"; }
show() { printf '\033[2m$ %s\033[0m\n' "$*"; "$@"; }

step "1. Check the spec before anything is spent"
show ratchet check experiments/quickstart.yaml

step "2. Train a grid of adapters, serve them, score them, compare"
show ratchet run experiments/quickstart.yaml

step "3. Promote the best one (refused unless its verdict is SHIP)"
if ! grep -qs '"prod"' "$lab/registry/aac.json"; then
    show ratchet promote best --as aac@prod
fi

step "4. Two samples of its answers for people to rate, blind"
if [ ! -f "$lab/campaigns/aac-warmth/campaign.json" ]; then
    show ratchet campaign create aac-warmth aac@prod aac@prod --name aac --pool experiments/data/aac/pool.jsonl \
        --temperature 1.0 --max-tokens 40
fi
echo "For the demo a scripted rater votes: it prefers the warmer answer and errs in one vote of ten."
show python -m experiments.scripted_rater aac-warmth --lab "$lab"

step "5. The votes become the next round: preference pairs and a DPO spec"
show ratchet next aac --primary aac_style/warm --epochs 2 --out "$lab/rounds"

step "6. Train and judge that round like any other experiment"
show ratchet run "$lab/rounds/aac-round-1/aac-round-1.yaml"

step "Done in $((SECONDS - started)) s. Next:"
echo "  source .venv/bin/activate                 # puts ratchet on your path"
cat <<TEXT
  ratchet promote best --as aac@prod        # let the DPO round take over, if its verdict is SHIP
  ratchet serve aac                         # OpenAI-compatible endpoint at http://127.0.0.1:8000/v1
  ratchet rate aac-warmth --rater you       # rate the same pairs yourself, in the browser
  ratchet sql "from leaderboard"            # everything is in DuckDB: $lab/ratchet.duckdb
  ratchet stop                              # stop the engine (it also stops by itself when idle)
TEXT
