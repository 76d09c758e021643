"""What the page Try it shows, in the language of whoever tries, and the texts that its script says by itself."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import groupby

from dashboards.texts import Texts
from dashboards.web import plain
from harness.core.rating import CampaignRecord
from harness.pipeline import tried, trying

SAID_BY_SCRIPT = (
    "answering", "new_models", "broke_off", "stopped", "silent", "not_kept", "elsewhere", "refused", "cut", "unsayable",
    "why", "why_hint", "good", "bad", "mark", "edit", "edited", "save_edit", "better", "saved", "not_saved",
    "campaign_open",
)  # fmt: skip


def frame(texts: Texts, who: str, models: Sequence[trying.Model], systems: Mapping[str, str]) -> str:
    """The whole page for `who`; `systems` are system prompts to begin with, by the models' names."""
    said = {name: texts.raw(f"try_{name}") for name in SAID_BY_SCRIPT}
    said |= {name: texts.raw(name) for name in ("cancel", "saving")}
    return (
        f'<h1>{texts("try_title")}</h1><p class="soft">{texts("try_about")}</p>'
        f'<div id="sides" lang="{texts.language}" data-who="{plain(who)}" data-texts="{plain(json.dumps(said))}">'
        f"{_sides(texts, models, systems)}</div>{_composer(texts)}{_campaign(texts, models)}"
    )


def message(texts: Texts, text: str) -> str:
    """A page that shows why there is nothing else; `text` is no HTML."""
    return (
        f'<h1>{texts("try_title")}</h1><p class="note error" role="alert">{plain(text)}</p><p>{texts("try_reload")}</p>'
    )


def _sides(texts: Texts, models: Sequence[trying.Model], systems: Mapping[str, str]) -> str:
    options = "".join(
        f'<optgroup label="{texts(f"try_group_{kind}")}">{"".join(_option(one, systems) for one in group)}</optgroup>'
        for kind, group in groupby(models, key=lambda model: model.kind)
    )
    none = f'<option value="">{texts("try_none")}</option>'
    return "".join(
        f'<section class="side" data-side="{side}" aria-label="{label}"><label>{label} '
        f'<select class="model">{before}{options}</select></label><div class="log" aria-live="polite"></div></section>'
        for side, label, before in (("a", texts("try_model"), ""), ("b", texts("try_beside"), none))
    )


def _option(model: trying.Model, systems: Mapping[str, str]) -> str:
    system = f' data-system="{plain(systems[model.name])}"' if model.name in systems else ""
    return f'<option value="{plain(model.name)}"{system}>{plain(model.name)}</option>'


def _composer(texts: Texts) -> str:
    return (
        f'<form id="composer"><details id="instruct"><summary>{texts("try_system")}</summary>'
        f'<textarea id="system" rows="3" aria-label="{texts("try_system")}"></textarea>'
        f'<p class="soft">{texts("try_system_hint")}</p></details>'
        f'<label for="ask">{texts("try_message")}</label><textarea id="ask" rows="3"></textarea><div class="row">'
        f'<button type="submit" id="send" aria-keyshortcuts="Control+Enter">{texts("try_send")}</button>'
        f'<button type="button" id="stop" hidden>{texts("try_stop")}</button>'
        f'<button type="button" id="anew">{texts("try_anew")}</button><span id="status" role="status"></span>'
        "</div></form>"
    )


# --- a campaign of what was sent --------------------------------------------------------------------------------


def _campaign(texts: Texts, models: Sequence[trying.Model]) -> str:
    known = dict.fromkeys(one.name.partition("@")[0] for one in models if one.kind in ("alias", "version"))
    names = "".join(f'<option value="{plain(name)}">' for name in known)
    first, make, purpose = plain(next(iter(known), "")), texts("try_campaign_make"), texts("try_campaign_purpose")

    def named(key: str) -> str:  # by an attribute as well: what is folded away has no text that a label could show
        return f'aria-label="{texts(f"try_campaign_{key}")}" required maxlength="64" autocapitalize="none"'

    return (
        f'<details id="sent"><summary>{texts("try_campaign")}</summary>'
        f'<p class="soft">{texts("try_campaign_about")}</p>'
        f'<p id="sent-counts" role="status"></p><form id="make">'
        f'<label>{texts("try_campaign_name")} <input id="make-campaign" {named("name")} autocomplete="off"></label>'
        f'<label>{texts("try_campaign_for")} <input id="make-name" {named("for")} list="make-names" value="{first}">'
        f'</label><datalist id="make-names">{names}</datalist>'
        f'<label>{purpose} <select id="make-purpose" aria-label="{purpose}">'
        f'<option value="train">{texts("try_campaign_train")}</option>'
        f'<option value="judge">{texts("try_campaign_judge")}</option></select></label>'
        f'<div class="row"><button type="submit" aria-label="{make}">{make}</button>'
        '<span id="made" class="said" role="status"></span></div></form></details>'
    )


def sent(texts: Texts, found: tried.Sent) -> str:
    """How much there is to make a campaign of, as text."""
    counts = texts.raw("try_campaign_counts", pairs=len(found.pairs), marked=found.marked, **tried.of_purposes(found))
    return " ".join(filter(None, [counts, _left_out(texts, found.left_out)]))


def made(texts: Texts, record: CampaignRecord) -> str:
    """What became of it, as text."""
    told = texts.raw("try_campaign_made", campaign=record.campaign, pairs=record.pairs)
    return " ".join(filter(None, [told, _left_out(texts, record.refused)]))


def _left_out(texts: Texts, counts: Mapping[str, int]) -> str:
    reasons = [texts.raw(f"out_{reason}", count=count) for reason, count in counts.items() if count]
    return texts.raw("try_campaign_left", reasons=", ".join(reasons)) if reasons else ""
