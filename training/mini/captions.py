"""Everyday captions in English and Chinese, made from a small grammar: what photographs' captions sound like, in both languages.

The drawings' titles are two words long. These sentences bring the text tower to the kind of text that users have, and each comes
with its translation. No data set's captions were used for writing them.
"""

from __future__ import annotations

import random
from pathlib import Path


def _grammar() -> dict[str, list[list[str]]]:
    """The lists of grammar.txt, by name."""
    lists: dict[str, list[list[str]]] = {}
    name = ""
    for line in (Path(__file__).parent / "grammar.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            name = line.strip("[]")
        elif line and not line.startswith("#"):
            lists.setdefault(name, []).append([cell.strip() for cell in line.split("|")])
    return lists


WORDS = _grammar()
SEVERAL = ("two", "three", "several", "friends", "teenagers")
OPENINGS = [("", ""), ("A photo of ", "一张照片："), ("There is ", "有"), ("A picture of ", "图片：")]


def caption(draw: random.Random) -> tuple[str, str]:
    """One caption and its Chinese translation."""
    kind = draw.random()
    if kind < 0.6:
        english, chinese = _people(draw)
    elif kind < 0.87:
        english, chinese = _animal(draw)
    else:
        thing, place = draw.choice(WORDS["things"]), draw.choice(WORDS["places"])
        opening, opening_zh = draw.choice(OPENINGS)
        english, chinese = f"{opening}{thing[0]} {place[0]}".strip(), f"{opening_zh}{place[1]}{thing[1]}"
    english = english[0].upper() + english[1:]
    end = draw.random() < 0.7
    return english + "." * end, chinese + "。" * end


def _people(draw: random.Random) -> tuple[str, str]:
    who, act, place = draw.choice(WORDS["people"]), draw.choice(WORDS["actions"]), draw.choice(WORDS["places"])
    look = ("", "")
    if draw.random() < 0.5:
        colour, form = draw.choice(WORDS["colours"]), draw.choice(WORDS["looks"])
        look = (" " + form[0].format(c=colour[0]), form[1].format(z=colour[1]))
    many = who[0].split()[0] in SEVERAL
    verb = draw.choice([f"{'are' if many else 'is'} {act[0]}", act[0], act[0] if many else act[1]])
    return f"{who[0]}{look[0]} {verb} {place[0]}".strip(), f"{look[1]}{who[1]}{place[1]}{act[2]}"


def _animal(draw: random.Random) -> tuple[str, str]:
    name = draw.choices(WORDS["animals"], [int(item[2]) for item in WORDS["animals"]])[0]
    fur, act, place = draw.choice([*WORDS["fur"], ["", ""]]), draw.choice(WORDS["antics"]), draw.choice(WORDS["places"])
    if draw.random() < 0.2:
        english = f"{draw.choice(['two', 'three'])} {fur[0]} {name[0]}{'' if name[0] in ('sheep', 'fish', 'deer') else 's'}"
        return " ".join(f"{english} {act[0]} {place[0]}".split()), f"几只{fur[1]}{name[1]}{place[1]}{act[2]}"
    article = "an" if (fur[0] or name[0])[0] in "aeiou" else "a"
    verb = draw.choice([f"is {act[0]}", act[0], act[1]]) if act[0][:4] != "with" else draw.choice([act[0], act[1]])
    return " ".join(f"{article} {fur[0]} {name[0]} {verb} {place[0]}".split()), f"一只{fur[1]}{name[1]}{place[1]}{act[2]}"
